"""Whether a pool child has started processes of its own: they outlive it, and so may their effects.

Main sees a child die at once, and what the child itself did has ended then. Of a step that ran `subprocess` or forked, that is
not known.
"""

from __future__ import annotations

import mmap
import os
import sys
from typing import Any

# Python tells its audit hooks of these before it does them.
STARTS = frozenset({"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "os.startfile"})
_SLOTS = 4096


class Spawned:
    """One byte a process, shared by main with all the children it forks. Two pids that meet in one make a careful answer."""

    def __init__(self) -> None:
        self._flags = mmap.mmap(-1, _SLOTS)

    def watch(self) -> None:
        """In a pool child, once: from now on note what this process starts."""
        flags, starts, pid = self._flags, STARTS, os.getpid

        def hook(event: str, _arguments: tuple[Any, ...]) -> None:
            if event in starts:
                flags[pid() % _SLOTS] = 1

        sys.addaudithook(hook)

    def forget(self) -> None:
        """In a pool child, before it walks a saga: what was started before belongs to others."""
        self._flags[os.getpid() % _SLOTS] = 0

    def by(self, pid: int) -> bool:
        """Whether that process may have started others since it began to walk."""
        return self._flags[pid % _SLOTS] != 0
