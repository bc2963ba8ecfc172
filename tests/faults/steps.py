"""Four steps of which the busy one visits every point: fails and waits in place, stops its worker, fails and parks.

In the other stories of `cases.py` it dies, or its undo does not work, and a probe or a person must say what comes of it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from pathlib import Path

from chaos.world import Refused, World, has_happened
from sagaworker import Probed, RetryPolicy, SagaState, StepFailed
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
    RETRY = RetryPolicy(max_attempts=5, base=0.02, factor=3, jitter=False, retry_on=(Wobble, StepFailed))
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
        if state.get_input("ending") == "parks":
            raise RuntimeError("for good")
        # Twice: where the machine is so busy that a lease runs out, a claim begins the attempt instead.
        if state.attempt in (1, 2):
            raise StepFailed("tried again at once")
        if state.attempt == 3:
            STOP.set()
            raise StepFailed("tried again elsewhere")
        if state.attempt == 4:
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


class Told(Acts):
    """A step of the other stories, where only the busy one is special."""

    NAME = "told"

    def _is_busy(self, state: SagaState) -> None:
        pass

    def execute(self, state: SagaState) -> SagaState:
        if state.get_input("ending") == "fails" and state.step_idx == len(state.get_input("paths")) - 1:
            World(state.saga_id).note("entered", state.step_idx, state.attempt, state.fence)
            raise StepFailed("for good")
        return super().execute(state)


class Dies(Told):
    """Takes its worker with it: twice before its effect, once after it."""

    NAME = "dies"
    BEFORE = (1, 2)
    AFTER = 3

    def _is_busy(self, state: SagaState) -> None:
        if state.attempt == 1:
            with contextlib.suppress(Exception):
                self._first(state)
        if state.attempt in self.BEFORE:
            os.kill(os.getpid(), signal.SIGKILL)

    def _first(self, state: SagaState) -> None:
        """What else happens in its first attempt."""

    def execute(self, state: SagaState) -> SagaState:
        done = super().execute(state)
        if state.attempt == self.AFTER:
            os.kill(os.getpid(), signal.SIGKILL)
        return done


class Asked(Dies):
    """Its probe looks into the world."""

    NAME = "asked"
    IN_DOUBT = "probe"
    BEFORE = (1,)
    AFTER = 2

    def probe(self, state: SagaState) -> Probed:
        return Probed.completed(state) if has_happened(state.saga_id, state.step_idx) else Probed.absent()


class Person(Dies):
    """A person retries it, says that it did not happen, and then that it did; before that it was on hold."""

    NAME = "person"
    IN_DOUBT = "halt"

    def _first(self, state: SagaState) -> None:
        ENGINE[0].hold(state.saga_id, reason="to see that nothing begins", who="ann")


class Skipper(Dies):
    """A person skips it, for it did not happen."""

    NAME = "skipper"
    IN_DOUBT = "halt"


class Halted(Told):
    """Its undo never works: a person retries it, then undoes it by hand and skips it."""

    NAME = "halted"
    COMPENSATE_RETRY = RetryPolicy(max_attempts=2, base=0.02, factor=1, jitter=False)

    def compensate(self, state: SagaState) -> None:
        raise RuntimeError(f"the undo of step {state.step_idx} is broken")


class GivenUp(Dies):
    """Its saga is given up as an orphan, and a person takes it up again."""

    NAME = "given_up"
    BEFORE = (1,)
    AFTER = 2
