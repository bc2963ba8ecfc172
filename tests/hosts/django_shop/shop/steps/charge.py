from django.db import transaction

from sagaworker import SagaState, StepFailed
from shop.models import Order
from tests.hosts.gates import gate


def execute(state: SagaState) -> SagaState:
    if name := state.inputs.get("gate"):
        gate(name).passed()
    if state.inputs.get("declined"):
        raise StepFailed("card declined")
    with transaction.atomic():
        order = Order.objects.select_for_update().get(pk=state.get_input("order"))
        order.status = "charged"
        order.save()
    return state.put_output("cents", order.cents)


def compensate(state: SagaState) -> None:
    Order.objects.filter(pk=state.get_input("order")).update(status="refunded")
