"""The polite stop: a worker that must stop finishes the running step, yields its sagas and goes.

Celery stops a pool child by SIGTERM in the end, which raises SystemExit at any bytecode: inside a step, or inside the
ledger. So the signal is only noted while a saga is walked.
"""

from __future__ import annotations

import mmap
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from types import FrameType
from typing import Any

from billiard import pool
from billiard.pool import Worker

PATIENCE = 20  # waits of 0.1 s for main, when the worker stops
NOTED = (signal.SIGTERM, signal.SIGQUIT)  # with REMAP_SIGTERM=SIGQUIT Celery sends that one


class StopFlag:
    """One byte that a worker's main process shares with all children it forks.

    Shared memory without a lock: a child that is killed while it reads cannot block the others. The start method `spawn`
    does not share it; children then learn of a stop by their signals only.
    """

    def __init__(self) -> None:
        self._byte = mmap.mmap(-1, 1)

    @property
    def is_set(self) -> bool:
        return self._byte[0] != 0

    def set(self) -> None:
        """From now on nothing is begun. Safe in a signal handler."""
        self._byte[0] = 1

    def clear(self) -> None:
        """A new worker starts in this process."""
        self._byte[0] = 0


_masks = threading.local()


@cache
def _leave_forks_alone() -> None:
    """A signal ends a process that a step forks, as the step's `terminate` expects. Registered once."""
    os.register_at_fork(before=_hold_signals, after_in_parent=_restore_mask, after_in_child=_as_a_process_has_them)


def _hold_signals() -> None:
    """Block the signals: Python loses a signal that reaches a forked child too early; the kernel keeps a blocked one."""
    _masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, NOTED)


def _restore_mask() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _masks.before)


def _as_a_process_has_them() -> None:
    for signum in NOTED:
        handler = signal.getsignal(signum)
        if isinstance(getattr(handler, "__self__", None), TermNotice):
            with suppress(ValueError):  # the fork did not come from the main thread
                signal.signal(signum, signal.SIG_DFL)
    _restore_mask()


def leave_soon(stop: StopFlag) -> None:
    """In a pool child: when the whole worker stops, wait 2 s instead of 30 for main to read this child's reports.

    Main reads no more reports once it joins its children, so a child with a late report only delays the stop. While the
    worker runs, billiard's own 30 s hold: a report that is not read counts as a lost worker.
    """
    if not hasattr(Worker, "_ensure_messages_consumed"):
        return

    def ensured(worker: Any, completed: int) -> bool:
        counter = worker.on_ready_counter
        for turn in range(pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT if counter else 0):
            if counter.value >= completed:
                return True
            if stop.is_set and turn >= PATIENCE:
                break
            time.sleep(pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_INTERVAL)
        return False

    # In this process only; billiard has no setting for it.
    setattr(Worker, "_ensure_messages_consumed", ensured)  # noqa: B010 - to type checkers the parameters' names differ


class TermNotice:
    """In the main thread of a pool child: note the terminating signals during a walk, and honour them after it."""

    def __init__(self, stop: StopFlag) -> None:
        self._stop = stop
        self._signum: int | None = None

    @property
    def was_given(self) -> bool:
        return self._signum is not None

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Within, the signals set `was_given`. Afterwards Celery's own handler gets the signal that came.

        When the whole worker stops, the signal is not repeated: main ends its children by closing the pool, and the task
        can still report its result.
        """
        _leave_forks_alone()
        previous = {signum: signal.signal(signum, self._note) for signum in NOTED}
        try:
            yield
        finally:
            for signum, handler in previous.items():
                signal.signal(signum, handler)
        if self._signum is not None and not self._stop.is_set:
            signal.raise_signal(self._signum)

    def _note(self, signum: int, _frame: FrameType | None) -> None:
        self._signum = signum
