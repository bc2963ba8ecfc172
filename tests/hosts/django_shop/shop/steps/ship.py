from sagaworker import SagaState
from shop.models import Order


def execute(state: SagaState) -> SagaState:
    Order.objects.filter(pk=state.get_input("order")).update(status="shipped")
    return state
