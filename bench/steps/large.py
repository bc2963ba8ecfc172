"""Put out 5 kB under a name of its own, and note when this step was entered."""

import time

from sagaworker import SagaState

SIZE = 5_000
entered: list[float] = []


def execute(state: SagaState) -> SagaState:
    entered.append(time.perf_counter())
    return state.put_output(f"large_{state.step_idx}", "x" * SIZE)
