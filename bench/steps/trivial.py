"""Put out one small value under a name of its own."""

from sagaworker import SagaState


def execute(state: SagaState) -> SagaState:
    return state.put_output(f"echo_{state.step_idx}", state.step_idx)
