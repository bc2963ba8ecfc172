"""The world outside the ledger, and the strings by which a test moves a worker through it, one act at a time."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import defaultdict
from collections.abc import Callable

from sagaworker import StepFailed
from sagaworker.engine import Engine
from sagaworker.episodes.place import Ended

PATIENCE = 60.0  # seconds for one move of a worker: the stuck bound


class Died(BaseException):
    """The worker's process ended here: nothing after this line happened."""


class World:
    """The effects of steps by (saga, idx), and what went wrong with them; nothing here knows the ledger."""

    def __init__(self) -> None:
        self.effects: dict[tuple[str, int], bool] = defaultdict(bool)
        self.tombs: set[tuple[str, int]] = set()
        self.undone: set[tuple[str, int]] = set()
        self.entered: set[tuple[str, int, int]] = set()
        self.problems: list[str] = []

    def enter(self, saga_id: str, idx: int, attempt: int) -> None:
        if (saga_id, idx, attempt) in self.entered:
            self.problems.append(f"attempt {attempt} of step {idx} was entered twice")
        self.entered.add((saga_id, idx, attempt))

    def act(self, saga_id: str, idx: int, *, tombstone: bool) -> None:
        if tombstone and (saga_id, idx) in self.tombs:
            return
        if not all(self.effects[saga_id, lower] for lower in range(idx)):
            self.problems.append(f"step {idx} acted while a lower one has no effect")
        self.effects[saga_id, idx] = True

    def undo(self, saga_id: str, idx: int, *, acts: bool) -> None:
        for (saga, above), is_there in self.effects.items():
            if saga == saga_id and above > idx and is_there and (saga, above) not in self.undone:
                self.problems.append(f"step {idx} is undone and step {above} is not")
        self.undone.add((saga_id, idx))
        if acts:
            self.tombs.add((saga_id, idx))
            self.effects[saga_id, idx] = False

    def left(self, saga_id: str) -> list[int]:
        return sorted(idx for (saga, idx), is_there in self.effects.items() if saga == saga_id and is_there)


strings = threading.local()  # .puppet: who runs in this thread


class Puppet:
    """A worker whose episode stops inside every step and undo, until `tell` says what it comes to. A Place, too."""

    def __init__(self, engine: Engine, world: World) -> None:
        self.engine = engine
        self.world = world
        self.saga_id = ""
        self.inside: tuple[str, int, int, int] | None = None  # execute or undo, idx, attempt, fence
        self.is_stopping = False
        self._stops_at = -1  # the question, from 0, to which the answer is to stop
        self._commands: queue.Queue[str] = queue.Queue()
        self._reports: queue.Queue[tuple[str, int, int, int] | None] = queue.Queue()
        self._thread: threading.Thread | None = None

    # -- for the test

    @property
    def is_idle(self) -> bool:
        return self.inside is None

    def deliver(self, saga_id: str, *, stops: bool = False) -> None:
        """Run an episode until it is inside a step or over; with `stops` the worker is told to stop once it claimed."""
        assert self.is_idle
        self.saga_id, self.is_stopping, self._stops_at = saga_id, False, 1 if stops else -1
        self._thread = threading.Thread(target=self._run, args=(saga_id,), daemon=True)
        self._thread.start()
        self._await()

    def tell(self, command: str) -> None:
        assert not self.is_idle
        self._commands.put(command)
        self._await()

    def _await(self) -> None:
        self.inside = self._reports.get(timeout=PATIENCE)
        if self.inside is None and self._thread is not None:
            self._thread.join(PATIENCE)

    def _run(self, saga_id: str) -> None:
        strings.puppet = self
        try:
            self.engine.run_episode(saga_id, place=self, should_stop=self._should_stop)
        except Died:
            pass
        except BaseException as exc:
            self.world.problems.append(f"the walk of a worker raised {exc!r}")
        finally:
            self._reports.put(None)

    def _should_stop(self) -> bool:
        self.is_stopping = self.is_stopping or self._stops_at == 0
        self._stops_at -= 1
        return self.is_stopping

    # -- a Place: user code is called here, and a death goes through

    def entered(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def arm(self, seconds: float, slack: float) -> None:
        """There is no hard end; the test brings it."""

    def disarm(self) -> None:
        """As there is nothing armed."""

    def call(self, function: Callable[[], object], seconds: float) -> Ended:
        try:
            return Ended(result=function())
        except Died:
            raise
        except BaseException as exc:
            return Ended(exception=exc)

    # -- for the steps

    def execute(self, state, *, tombstone: bool) -> None:
        self.world.enter(state.saga_id, state.step_idx, state.attempt)
        command = self._asked("execute", state)
        if command in ("ok", "stop", "raise", "act, die"):
            self.world.act(state.saga_id, state.step_idx, tombstone=tombstone)
        self._end(command)

    def undo(self, state) -> None:
        command = self._asked("undo", state)
        self.world.undo(state.saga_id, state.step_idx, acts=command in ("ok", "stop", "act, die"))
        self._end(command)

    def _asked(self, what: str, state) -> str:
        self._reports.put((what, state.step_idx, state.attempt, state.fence))
        return self._commands.get()

    def _end(self, command: str) -> None:
        if command in ("die", "act, die"):
            raise Died
        if command == "decline":
            raise StepFailed("as told")
        if command in ("raise", "raise early"):
            raise RuntimeError("as told")
        self.is_stopping = self.is_stopping or command == "stop"
