from sagaworker import SagaState
from store.db import Sessions
from store.models import Order


def mark(state: SagaState, status: str) -> None:
    with Sessions.begin() as session:
        session.get_one(Order, state.get_input("order")).status = status


def execute(state: SagaState) -> SagaState:
    mark(state, "reserved")
    return state.put_output("reserved", True)


def compensate(state: SagaState) -> None:
    mark(state, "released")
