"""Put out the saga's input `message` (default "hello") under `echoed_at_step_<idx>`. No effect, so nothing to undo."""

from sagaworker import SagaState


def execute(state: SagaState) -> SagaState:
    return state.put_output(f"echoed_at_step_{state.step_idx}", state.get_input("message", "hello"))
