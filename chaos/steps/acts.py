"""Two steps that differ in one thing: after the undo of the second, its effect cannot come any more."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from chaos.world import Refused, World
from sagaworker import RetryPolicy, SagaState, StepFailed

INSIDE = "CHAOS_INSIDE"  # the folder where a process says that it is in user code


class Plain:
    """Acts by its params: `seconds` around its effect, `then` fail, raise or poison; `undo` seconds, `flaky` undos that fail."""

    NAME = "plain"
    TIMEOUT = 4
    TOMBSTONE = False
    COMPENSATE_RETRY = RetryPolicy(max_attempts=6, base=0.1, factor=2, jitter=True)

    def execute(self, state: SagaState) -> SagaState:
        world = World(state.saga_id)
        with self._inside("execute", state):
            world.note("entered", state.step_idx, state.attempt, state.fence)
            time.sleep(_number(state, "seconds"))
            if state.params.get("then") == "fail":
                raise StepFailed("as planned")
            if state.params.get("then") == "poison":
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                world.act(state.step_idx, state.attempt, state.fence, tombstone=self.TOMBSTONE)
            except Refused as exc:
                raise StepFailed(str(exc)) from exc
            if state.params.get("then") == "raise":
                raise RuntimeError("as planned, after the effect")
            time.sleep(_number(state, "seconds"))
        return state.put_output(f"did_{state.step_idx}", state.attempt)

    def compensate(self, state: SagaState) -> None:
        world = World(state.saga_id)
        with self._inside("compensate", state):
            world.note("undoing", state.step_idx, state.attempt, state.fence)
            time.sleep(_number(state, "undo"))
            if state.attempt <= _number(state, "flaky"):
                raise ConnectionError("as planned, before the undo")
            world.note("undid", state.step_idx, state.attempt, state.fence)
            time.sleep(_number(state, "undo"))

    @contextlib.contextmanager
    def _inside(self, what: str, state: SagaState) -> Iterator[None]:
        """Note in a file that the process is inside. A process that dies within leaves the file, which shows where the kill hit."""
        said = Path(os.environ[INSIDE]) / str(os.getpid())
        said.write_text(f"{what} {'tombstone' if self.TOMBSTONE else 'plain'} {state.saga_id} {state.step_idx}")
        try:
            yield
        finally:
            said.unlink(missing_ok=True)


class Tombstoned(Plain):
    """An effect that was undone cannot happen any more, so no quarantine is needed."""

    NAME = "tombstoned"
    TOMBSTONE = True


def _number(state: SagaState, name: str) -> float:
    return float(cast("float", state.params.get(name, 0)))
