from sagaworker import SagaState
from shop.models import Order


def execute(state: SagaState) -> SagaState:
    Order.objects.filter(pk=state.get_input("order")).update(status="reserved")
    return state.put_output("reserved", True)


def compensate(state: SagaState) -> None:
    Order.objects.filter(pk=state.get_input("order")).update(status="released")
