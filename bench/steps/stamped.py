"""Put out one small value, and note when this step was entered: the gaps are the cost of claim and step."""

import time

from sagaworker import SagaState

entered: list[float] = []


def execute(state: SagaState) -> SagaState:
    entered.append(time.perf_counter())
    return state.put_output(f"echo_{state.step_idx}", state.step_idx)
