"""Note whether a pool child has started processes: they may outlive the child, and so may their effects.

Main sees a child die at once, and then the child's own work has ended. The work of processes that a step started, by
`subprocess` or by a fork, may go on.
"""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Events that Python reports to its audit hooks beforehand.
STARTS = frozenset({"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "os.startfile"})


def _most_processes() -> int:
    try:
        return int(Path("/proc/sys/kernel/pid_max").read_text())
    except (OSError, ValueError):
        return 1 << 22


class Spawned:
    """One byte a process, shared by main with all the children it forks. Only written pages take memory."""

    def __init__(self) -> None:
        self._slots = _most_processes() + 1
        self._flags = mmap.mmap(-1, self._slots)
        self._depth = 0

    def watch(self) -> None:
        """In a pool child, once: note from now on that this process starts others."""
        flags, slots, starts, pid = self._flags, self._slots, STARTS, os.getpid

        def hook(event: str, _arguments: tuple[Any, ...]) -> None:
            if event in starts:
                flags[pid() % slots] = 1

        sys.addaudithook(hook)

    @contextmanager
    def walking(self) -> Iterator[None]:
        """In the main thread of a pool child, around a walk: forget processes that were started before the walk.

        A saga that is walked inside a step is part of that step's walk.
        """
        if self._depth == 0:
            self._flags[os.getpid() % self._slots] = 0
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    def by(self, pid: int) -> bool:
        """Whether that process may have started others since it began to walk."""
        return self._flags[pid % self._slots] != 0
