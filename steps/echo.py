"""Put out when this step ran, under `echoed_at_step_<idx>`. Has no effect outside the ledger, so nothing to undo."""

from datetime import UTC, datetime

from sagaworker import SagaState


def execute(state: SagaState) -> SagaState:
    return state.put_output(f"echoed_at_step_{state.step_idx}", datetime.now(UTC).isoformat())
