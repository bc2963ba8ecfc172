"""Steps that leave a line in the effects journal for everything they do outside the ledger."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from sagaworker import RetryPolicy, SagaState, StepFailed
from tests.steps_for_tests.journal import note
from tests.waiting import wait_until


class Acts:
    """Does what its params say: wait `seconds`, or until the file `gate` is there, or for what comes first of both; have
    an effect, wait `after` seconds unless the gate is there, or until the file `after_gate` is, `fail`; undo in
    `undo_seconds`, or once the file `undo_gate` is there.
    """

    TIMEOUT = 20

    def execute(self, state: SagaState) -> SagaState:
        note(state, "entered")
        gate, seconds = state.params.get("gate"), state.params.get("seconds")
        if seconds is None:
            self._wait_at(gate)
        self._last(seconds or 0, gate)
        note(state, "did")
        self._wait_at(state.params.get("after_gate"))
        self._last(state.params.get("after", 0), gate)
        if state.params.get("fail"):
            note(state, "undid")  # what it did is undone: it may say that it had no effect
            raise StepFailed("as asked")
        return state.put_output(f"did_{state.step_idx}", state.attempt)

    def compensate(self, state: SagaState) -> None:
        note(state, "undoing")
        self._wait_at(state.params.get("undo_gate"))
        time.sleep(state.params.get("undo_seconds", 0))  # noqa: TID251 - the same
        note(state, "undid")

    def _last(self, seconds: float, gate: str | None) -> None:
        if not (gate and Path(gate).exists()):
            time.sleep(seconds)  # noqa: TID251 - how long it takes is what it is for

    def _wait_at(self, gate: str | None) -> None:
        if gate:
            wait_until(Path(gate).exists, what=f"the file {gate}", timeout=self.TIMEOUT - 1, every=0.01)


class Waits(Acts):
    """May wait at its gates for as long as any test takes to open them. A doubt of it makes its undo wait as long."""

    NAME = "Waits"
    TIMEOUT = 300


class HaltsInDoubt(Acts):
    """Waits for a person when its worker died in it."""

    NAME = "HaltsInDoubt"
    IN_DOUBT = "halt"


class FailsOnce(Acts):
    """Fails its first attempt, definitely; is tried again after `RETRY.base` seconds in place."""

    NAME = "FailsOnce"
    RETRY = RetryPolicy(max_attempts=5, base=2.0, factor=1, jitter=False, retry_on=(StepFailed,))

    def execute(self, state: SagaState) -> SagaState:
        if state.attempt == 1:
            note(state, "refused")
            raise StepFailed("the first time")
        return super().execute(state)


class Spawns(Acts):
    """Starts a process that outlives this one, and in its first attempt never comes back."""

    NAME = "Spawns"
    TIMEOUT = 4

    def execute(self, state: SagaState) -> SagaState:
        note(state, "entered")
        if state.attempt > 1:
            note(state, "did")
            return state
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3)"])
        note(state, "spawned")
        self._wait_at("/nowhere")
        return state


class RetriesLater(Acts):
    """Fails its first attempt, and is tried again so much later that its worker lets go."""

    NAME = "RetriesLater"
    RETRY = RetryPolicy(max_attempts=2, base=3600.0, factor=1, jitter=False, retry_on=(StepFailed,))

    def execute(self, state: SagaState) -> SagaState:
        raise StepFailed("not yet")


class UndoFails(Acts):
    """Cannot be undone."""

    NAME = "UndoFails"
    COMPENSATE_RETRY = RetryPolicy(max_attempts=1)

    def compensate(self, state: SagaState) -> None:
        raise StepFailed("never")
