"""Many cases at once, each process forked from this one: a death costs no start of Python."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from sagaworker.settings import Settings
from tests.faults.cases import Case
from tests.faults.life import Life, live

CASE_SECONDS = 300.0  # longer means stuck
LIVES = 12


@dataclass
class Running:
    """A case and its living processes. `lives` counts them all."""

    case: Case
    folder: Path
    until: float
    pids: set[int] = field(default_factory=set)
    rescued: set[int] = field(default_factory=set)  # stopped ones for whom another was started
    dead: list[str] = field(default_factory=list)
    lives: int = 0
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """A finished case: the id of its saga, and whether each of its faults fired."""

    case: Case
    saga_id: str
    cancel_accepted: bool
    fired: bool
    is_stuck: bool


class Crowd:
    """Runs cases, so many at a time. This process must have no threads and no connections: it forks."""

    def __init__(self, settings: Settings, folder: Path, *, at_once: int) -> None:
        self._settings = settings
        self._folder = folder
        self._at_once = at_once
        self._running: dict[int, Running] = {}  # by number of arrival
        self._of: dict[int, int] = {}  # pid -> number of arrival

    def run(self, cases: Iterable[Case]) -> list[Ended]:
        waiting = iter(cases)
        ended: list[Ended] = []
        arrived = 0
        is_empty = False
        while self._running or not is_empty:
            while len(self._running) < self._at_once and not is_empty:
                case = next(waiting, None)
                is_empty = case is None
                if case is not None:
                    self._arrive(arrived, case)
                    arrived += 1
            self._reap()
            ended += self._departed()
        return ended

    def _arrive(self, number: int, case: Case) -> None:
        folder = self._folder / f"{number:05d}"
        folder.mkdir()
        self._running[number] = Running(case, folder, time.monotonic() + CASE_SECONDS)
        self._spawn(number)

    def _spawn(self, number: int) -> None:
        running = self._running[number]
        running.lives += 1
        if running.lives > LIVES:
            return
        dead = tuple(running.dead) if running.case.is_witnessed else ()
        life = Life(running.case, running.folder, self._settings, dead, running.until)
        pid = os.fork()
        if pid == 0:
            status = 2
            try:
                status = live(life)
            finally:
                os._exit(status)
        running.pids.add(pid)
        self._of[pid] = number

    def _reap(self) -> None:
        """Wait until one ends or stops; where nobody is left to go on, somebody else starts."""
        if not self._of:
            return
        pid, status = os.waitpid(-1, os.WUNTRACED)
        number = self._of[pid]
        running = self._running[number]
        if os.WIFSTOPPED(status):
            if pid not in running.rescued:
                running.rescued.add(pid)
                self._spawn(number)
            return
        del self._of[pid]
        running.pids.discard(pid)
        running.ended |= os.waitstatus_to_exitcode(status) == 0
        owner = running.folder / f"owner-{pid}"
        if owner.exists():
            running.dead.append(owner.read_text())
        if not running.ended and not running.pids - running.rescued and time.monotonic() < running.until:
            self._spawn(number)

    def _departed(self) -> list[Ended]:
        """Cases without a process. One that is over does not wait for a sleeper's loop, but for the sleeper."""
        gone = [number for number, running in self._running.items() if not running.pids]
        return [self._ended(self._running.pop(number)) for number in gone]

    @staticmethod
    def _ended(running: Running) -> Ended:
        saga = running.folder / "saga"
        marks = {path.name.partition("-")[2] for path in running.folder.iterdir()}
        return Ended(
            case=running.case,
            saga_id=saga.read_text() if saga.exists() else "",
            cancel_accepted=(running.folder / "cancelled").exists(),
            fired=all(fault.replace("=", "-") in marks for fault in running.case.faults),
            is_stuck=not running.ended,
        )

    def close(self) -> None:
        """End what is left, after an error."""
        for pid in self._of:
            os.kill(pid, signal.SIGKILL)
        for pid in self._of:
            os.waitpid(pid, 0)
