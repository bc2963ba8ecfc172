"""Put out 5 kB under a name of its own, and note when this step was entered."""

import random
import time

from sagaworker import SagaState

SIZE = 5_000
# Random letters: PostgreSQL would compress a repeated letter to nothing.
TEXT = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=SIZE))
entered: list[float] = []


def execute(state: SagaState) -> SagaState:
    entered.append(time.perf_counter())
    return state.put_output(f"large_{state.step_idx}", TEXT)
