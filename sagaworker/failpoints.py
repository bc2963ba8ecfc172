"""Named points around every commit and every effect, where a test may hurt the process. Off without the test switch.

SAGAWORKER_FAILPOINTS holds entries `point=action` separated by commas. `point@2=kill` fires at step 2 only. In
`a=kill>b=pause` the second fires only after the first. Each entry fires once in all processes of one test, which share
the folder SAGAWORKER_FAILPOINTS_FOLDER. The variables are refused unless SAGAWORKER_TESTING is 1.

kill: SIGKILL to this process. pause: SIGSTOP to this process with its heartbeat, and SIGCONT after
SAGAWORKER_FAILPOINTS_PAUSE seconds. raise: a lost connection at a move, a RuntimeError in user code. drop, at a move
only: the connection is really cut, before the move is sent, or after the move has landed but before its answer is known.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from sagaworker.domain import moves
from sagaworker.errors import InvalidSetting

# Moves without points of their own: `complete` is the last `advance`, and the others move no saga on.
_WITHOUT = {"complete", "checkpoint", "pass_over", "retry_passed_over"}
# Named after the statement file of the move. `advance` is complete.sql too; `witness` is owned.sql, its only query.
MOVES = (*(name for name in moves.MOVES if name not in _WITHOUT), "witness")
EFFECTS = ("execute", "compensate", "probe")
POINTS = tuple(f"{name}.{when}" for name in (*MOVES, *EFFECTS) for when in ("before", "after"))
PAUSE = 2.5  # seconds


class Action(StrEnum):
    """The action at a point."""

    KILL = "kill"
    PAUSE = "pause"
    RAISE = "raise"
    DROP = "drop"


EFFECT_ACTIONS = (Action.KILL, Action.PAUSE, Action.RAISE)


@dataclass(frozen=True, slots=True)
class Fault:
    """One entry. The file `name` says that it has fired. It waits until the fault named `after` has fired."""

    point: str
    step_idx: int | None
    action: Action
    name: str
    after: str | None = None


class Failpoints:
    """The points that are set in this process; the code calls `hit` at each point."""

    def __init__(self, faults: Iterable[Fault] = (), folder: Path | None = None, pause: float = PAUSE) -> None:
        self._faults: dict[str, list[Fault]] = defaultdict(list)
        for fault in faults:
            self._faults[fault.point].append(fault)
        self._folder = folder or Path()
        self._pause = pause

    def __bool__(self) -> bool:
        return bool(self._faults)

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Failpoints:
        """Read the variables.

        Raises:
            InvalidSetting: an unknown point or action, or the test switch is off.
        """
        env = os.environ if env is None else env
        text = env.get("SAGAWORKER_FAILPOINTS", "")
        if not text:
            return cls()
        if env.get("SAGAWORKER_TESTING") != "1":
            raise InvalidSetting("SAGAWORKER_FAILPOINTS must be unset outside tests, got a value", "it kills workers")
        folder = env.get("SAGAWORKER_FAILPOINTS_FOLDER")
        if not folder:
            raise InvalidSetting("SAGAWORKER_FAILPOINTS_FOLDER must name a folder when failpoints are set, got none")
        return cls(parsed(text), Path(folder), float(env.get("SAGAWORKER_FAILPOINTS_PAUSE", PAUSE)))

    def hit(self, point: str, step_idx: int | None = None) -> None:
        """Carry out the fault that is set for this point, once in all processes that share the folder."""
        if not self._faults:
            return
        is_effect = point.partition(".")[0] in EFFECTS
        fault = self.due(point, step_idx, EFFECT_ACTIONS if is_effect else (Action.KILL, Action.PAUSE))
        if fault is not None and self.done(fault) is Action.RAISE:
            raise RuntimeError(f"failpoint {point} at step {step_idx}")

    def due(self, point: str, step_idx: int | None, legal: Iterable[Action] = Action) -> Fault | None:
        """Take the next fault of this point, if there is one. A taken fault is not due again in any process."""
        for fault in self._faults.get(point, ()):
            if fault.action in legal and fault.step_idx in (None, step_idx) and self._is_first(fault):
                return fault
        return None

    def done(self, fault: Fault) -> Action:
        """Carry out kill and pause. The caller carries out the other actions: only it knows what to raise or to cut."""
        if fault.action is Action.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        elif fault.action is Action.PAUSE:
            self._stop()
        return fault.action

    def _is_first(self, fault: Fault) -> bool:
        if fault.after is not None and not (self._folder / fault.after).exists():
            return False
        try:
            (self._folder / fault.name).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def _stop(self) -> None:
        """Stop all threads, as on a machine that sleeps. A helper process wakes this one up."""
        wake = f"sleep {self._pause}; kill -CONT {os.getpid()}"
        until = time.monotonic() + self._pause
        with subprocess.Popen(["/bin/sh", "-c", wake], start_new_session=True):
            os.kill(os.getpid(), signal.SIGSTOP)
            while time.monotonic() < until:  # somebody else may have woken us
                time.sleep(0.01)


def parsed(text: str) -> list[Fault]:
    """The faults that the text of SAGAWORKER_FAILPOINTS asks for."""
    faults: list[Fault] = []
    for chain in text.split(","):
        after = None
        for entry in chain.split(">"):
            fault = _parsed(entry.strip(), len(faults), after)
            faults.append(fault)
            after = fault.name
    return faults


def _parsed(entry: str, number: int, after: str | None) -> Fault:
    place, _, action = entry.partition("=")
    point, _, idx = place.partition("@")
    legal = EFFECT_ACTIONS if point.partition(".")[0] in EFFECTS else tuple(Action)
    if point not in POINTS or action not in legal or (idx and not idx.isdigit()):
        raise InvalidSetting(
            f"SAGAWORKER_FAILPOINTS must hold entries like advance.before@2=kill, got {entry!r}",
            f"points: {', '.join(POINTS)}; actions: {', '.join(Action)} (drop at moves only)",
        )
    return Fault(point, int(idx) if idx else None, Action(action), f"{number}-{place}-{action}", after)
