from django.db import connection

from sagaworker import SagaState
from shop.models import Order

TIMEOUT = 0.5
IN_DOUBT = "compensate"


def execute(state: SagaState) -> SagaState:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(60)")
    return state


def compensate(state: SagaState) -> None:
    Order.objects.filter(pk=state.get_input("order")).update(status="unstalled")
