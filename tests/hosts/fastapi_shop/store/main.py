from typing import Annotated, Any

from fastapi import Depends, FastAPI
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.orm import Session

from sagaworker import InvalidInput, KeyConflict
from store.db import session
from store.models import Order
from store.worker import app as celery_app
from store.worker import sagas

app = FastAPI()
STEPS = ["store.steps.reserve", "store.steps.charge", "store.steps.ship"]
PerRequest = Annotated[Session, Depends(session)]


class Wish(BaseModel):
    email: str = "ann@example.com"
    euros: float = 1.5
    crash: bool = False
    inputs: dict[str, Any] = {}


@app.exception_handler(InvalidInput)
@app.exception_handler(KeyConflict)
def refused(_request: Any, exc: Exception) -> JSONResponse:
    return JSONResponse({"refused": str(exc)}, status_code=400)


@app.post("/buy", status_code=202)
def buy(email: str, session: PerRequest) -> dict[str, Any]:
    order = Order(email=email, lines={"euros": 42.0})
    session.add(order)
    session.flush()
    run = sagas.engine.start(
        "checkout",
        ["store.steps.reserve", "store.steps.charge", "store.steps.ship"],
        inputs={"order": order.id, "euros": 42.0},
        key=f"order-{order.id}",
        connection=session,
    )
    session.commit()
    return {"order": order.id, "saga": run.id}


def place(session: Session, wish: Wish) -> dict[str, Any]:
    order = Order(email=wish.email, lines={"euros": wish.euros})
    session.add(order)
    session.flush()
    inputs = {"order": order.id, "euros": wish.euros, **wish.inputs}
    key = f"{wish.email}-{order.id}"
    run = sagas.engine.start("checkout", STEPS, inputs=inputs, key=key, connection=session)
    again = sagas.engine.start("checkout", STEPS, inputs=inputs, key=key, connection=session)
    kept = again.inputs == run.inputs and isinstance(again.inputs["euros"], float)
    return {"order": order.id, "saga": run.id, "same": again.id == run.id, "kept": kept}


@app.post("/orders")
async def order(wish: Wish, session: PerRequest) -> dict[str, Any]:
    """The order and its saga are one transaction; the saga is rung by its commit."""
    placed = await run_in_threadpool(place, session, wish)
    if wish.crash:
        raise RuntimeError("after the saga was started")
    await run_in_threadpool(session.commit)
    return placed


@app.post("/blocking")
async def blocking(wish: Wish, session: PerRequest) -> dict[str, Any]:
    """The same in the event loop's own thread, as many shops have it."""
    placed = place(session, wish)
    session.commit()
    return placed


@app.post("/gifts")
def gift(wish: Wish, session: PerRequest) -> dict[str, Any]:
    """An order with a gift; where the gift cannot be given, the order is made all the same."""
    placed = place(session, wish)
    try:
        with session.begin_nested():
            lost = place(session, wish)
            raise LookupError("no gifts left")
    except LookupError:
        pass
    session.commit()
    return {**placed, "present": lost["order"], "lost": lost["saga"]}


@app.get("/orders/{order_id}")
def look(order_id: int, session: PerRequest) -> dict[str, Any]:
    order = session.get_one(Order, order_id)
    return {"status": order.status, "euros": type(order.euros).__name__}


@app.post("/cancel/api/{saga_id}")
async def cancel(saga_id: str) -> dict[str, str]:
    return {"answer": await run_in_threadpool(sagas.engine.cancel, saga_id, "changed her mind")}


@app.post("/cancel/task/{saga_id}")
async def cancel_by_task(saga_id: str) -> dict[str, str]:
    await run_in_threadpool(celery_app.send_task, "sagaworker.cancel_saga", [saga_id, "changed her mind"])
    return {"answer": "sent"}


class Sent(BaseModel):
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    wait: bool = False


@app.post("/tasks/{name}")
def task(name: str, sent: Sent) -> dict[str, Any]:
    """Send a task of the shop, or by its whole name any other; wait for its result if wanted."""
    result = celery_app.send_task(name, sent.args, sent.kwargs)
    return {"result": result.get(timeout=20) if sent.wait else None, "id": result.id}
