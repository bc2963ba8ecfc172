"""Whether a pool child has started processes of its own: they outlive it, and so may their effects.

Main sees a child die at once, and what the child itself did has ended then. Of a step that ran `subprocess` or forked, that is
not known.
"""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Python tells its audit hooks of these before it does them.
STARTS = frozenset({"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "os.startfile"})


def _most_processes() -> int:
    try:
        return int(Path("/proc/sys/kernel/pid_max").read_text())
    except (OSError, ValueError):
        return 1 << 22


class Spawned:
    """One byte a process, shared by main with all the children it forks. Only what is written takes memory."""

    def __init__(self) -> None:
        self._slots = _most_processes() + 1
        self._flags = mmap.mmap(-1, self._slots)
        self._depth = 0

    def watch(self) -> None:
        """In a pool child, once: from now on note what this process starts."""
        flags, slots, starts, pid = self._flags, self._slots, STARTS, os.getpid

        def hook(event: str, _arguments: tuple[Any, ...]) -> None:
            if event in starts:
                flags[pid() % slots] = 1

        sys.addaudithook(hook)

    @contextmanager
    def walking(self) -> Iterator[None]:
        """In the main thread of a pool child, around a walk: what was started before belongs to others.

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
