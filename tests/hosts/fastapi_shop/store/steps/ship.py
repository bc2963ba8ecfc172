from sagaworker import SagaState
from store.steps.reserve import mark


def execute(state: SagaState) -> SagaState:
    mark(state, "shipped")
    return state
