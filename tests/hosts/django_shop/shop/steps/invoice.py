from django.db import OperationalError

from sagaworker import RetryPolicy, SagaState
from shop.models import Order
from tests.hosts.gates import gate

RETRY = RetryPolicy(max_attempts=2, base=0, jitter=False, retry_on=(OperationalError,))


def execute(state: SagaState) -> SagaState:
    if name := state.inputs.get("gate"):
        gate(name).passed()
    return state.put_output("cents", Order.objects.get(pk=state.get_input("order")).cents)


def compensate(state: SagaState) -> None:
    Order.objects.filter(pk=state.get_input("order")).update(status="credited")
