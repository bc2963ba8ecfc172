import json
from functools import partial

from celery import current_app
from django.db import connection, connections, transaction
from django.http import JsonResponse

from sagaworker import InvalidInput
from shop.celery import sagas
from shop.models import Order

STEPS = ["shop.steps.reserve", "shop.steps.charge", "shop.steps.ship"]


def buy(request):
    with transaction.atomic():
        order = Order.objects.create(email=request.POST["email"], cents=4200)
        run = sagas.engine.start(
            "checkout",
            ["shop.steps.reserve", "shop.steps.charge", "shop.steps.ship"],
            inputs={"order": order.pk},
            key=f"order-{order.pk}",
            connection=connection.connection,
        )
        transaction.on_commit(partial(sagas.engine.ring, run.id), robust=True)
    return JsonResponse({"order": order.pk, "saga": run.id}, status=202)


def start(order, inputs, using):
    """Part of the transaction in which the order is made, and rung once that has committed."""
    inputs = {"order": order.pk, **inputs}
    here = connections[using].connection
    run = sagas.engine.start("checkout", STEPS, inputs=inputs, key=f"order-{order.pk}", connection=here)
    transaction.on_commit(partial(sagas.engine.ring, run.id), using=using, robust=True)
    return run


def order(request):
    wish = json.loads(request.body)
    using = wish.pop("using", "default")
    crash = wish.pop("crash", False)
    with transaction.atomic(using=using):
        order = Order.objects.using(using).create(email="ann@example.com", cents=wish.pop("cents", 1))
        run = start(order, wish, using)
        again = start(order, wish, using)
        if crash:
            raise RuntimeError("after the saga was started")
    return JsonResponse(
        {"order": order.pk, "saga": run.id, "same": again.id == run.id, "kept": again.inputs == run.inputs}
    )


def look(request, pk):
    return JsonResponse({"status": Order.objects.get(pk=pk).status})


def gift(request):
    """An order with a gift; where the gift cannot be given, the order is made all the same."""
    order = Order.objects.create(email="ann@example.com", cents=1)
    run = start(order, {}, "default")
    try:
        with transaction.atomic():
            present = Order.objects.create(email="ann@example.com", cents=0)
            lost = start(present, {}, "default")
            raise LookupError("no gifts left")
    except LookupError:
        pass
    return JsonResponse({"order": order.pk, "saga": run.id, "present": present.pk, "lost": lost.id})


@transaction.non_atomic_requests
def bare(request):
    """Without a transaction: each statement commits by itself."""
    order = Order.objects.create(email="ann@example.com", cents=1)
    try:
        start(order, {}, "default")
    except InvalidInput as refused:
        return JsonResponse({"refused": str(refused), "autocommit": connection.connection.autocommit}, status=400)
    return JsonResponse({})


def cancel(request, saga_id):
    return JsonResponse({"answer": sagas.engine.cancel(saga_id, "changed her mind")})


def cancel_by_task(request, saga_id):
    current_app.send_task("sagaworker.cancel_saga", [saga_id, "changed her mind"])
    return JsonResponse({"answer": "sent"})


def task(request, name):
    """Send a task of the shop, or by its whole name any other; wait for its result if wanted."""
    wish = json.loads(request.body)
    sent = current_app.send_task(name, wish.get("args", []), wish.get("kwargs", {}))
    return JsonResponse({"result": sent.get(timeout=20) if wish.get("wait") else None, "id": sent.id})
