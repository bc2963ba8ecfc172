"""Four steps of which the busy one visits every point: fails and waits in place, stops its worker, fails and parks."""

from __future__ import annotations

import threading
from pathlib import Path

from chaos.world import Refused, World
from sagaworker import RetryPolicy, SagaState, StepFailed
from sagaworker.engine import Engine

STOP = threading.Event()  # asks this process to yield
ENGINE: list[Engine] = []  # for the step that cancels its own saga
CANCELLED = Path("cancelled")  # below the case's folder: exists when the cancel was acknowledged


class Wobble(Exception):
    """Tried again, and in doubt."""


class Acts:
    NAME = "acts"
    TIMEOUT = 4
    TOMBSTONE = False
    RETRY = RetryPolicy(max_attempts=4, base=0.02, factor=5, jitter=False, retry_on=(Wobble, StepFailed))
    COMPENSATE_RETRY = RetryPolicy(max_attempts=6, base=0.02, factor=1, jitter=False)

    def execute(self, state: SagaState) -> SagaState:
        world = World(state.saga_id)
        world.note("entered", state.step_idx, state.attempt, state.fence)
        if state.step_idx == state.get_input("busy"):
            self._is_busy(state)
        try:
            world.act(state.step_idx, state.attempt, state.fence, tombstone=self.TOMBSTONE)
        except Refused as exc:
            raise StepFailed(str(exc)) from exc
        return state.put_output(f"did_{state.step_idx}", state.attempt)

    def _is_busy(self, state: SagaState) -> None:
        if state.attempt == 1:
            raise StepFailed("tried again at once")
        if state.attempt == 2:
            STOP.set()
            raise StepFailed("tried again elsewhere")
        if state.attempt == 3:
            raise Wobble  # tried again so late that it parks
        if state.get_input("ending") == "cancelled":
            answer = ENGINE[0].cancel(state.saga_id)
            if answer != "not_active":
                (Path(state.get_input("folder")) / CANCELLED).touch()
        if state.get_input("ending") != "completes":
            raise StepFailed("for good")

    def compensate(self, state: SagaState) -> None:
        world = World(state.saga_id)
        world.note("undoing", state.step_idx, state.attempt, state.fence)
        world.note("undid", state.step_idx, state.attempt, state.fence)


class Tombstoned(Acts):
    NAME = "tombstoned"
    TOMBSTONE = True
