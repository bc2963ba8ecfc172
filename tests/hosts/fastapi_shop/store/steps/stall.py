from sqlalchemy import func, select

from sagaworker import SagaState
from store.db import Sessions
from store.steps.reserve import mark

TIMEOUT = 0.5
IN_DOUBT = "compensate"


def execute(state: SagaState) -> SagaState:
    with Sessions.begin() as session:
        session.execute(select(func.pg_sleep(60)))
    return state


def compensate(state: SagaState) -> None:
    mark(state, "unstalled")
