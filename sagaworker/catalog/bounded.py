"""A bound of time for users' code outside of steps: imports, validations, policies. Code that hangs costs a wait only."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from types import FrameType
from typing import TypeVar

Result = TypeVar("Result")


class Hung(Exception):
    """The call did not come back in time."""

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(what, seconds)
        self.what = what
        self.seconds = seconds

    def __str__(self) -> str:
        return f"{self.what} that does not end within {self.seconds:g} s"


def bounded(work: Callable[[], Result], seconds: float, what: str) -> Result:
    """Call `work` and return its result, within so many seconds.

    In the main thread an alarm ends the call, so that objects made by the call belong to the thread that uses them.
    Elsewhere the call runs in a new thread with a copy of the caller's context; a thread that hangs is left behind.

    Raises:
        Hung: the call did not end in time. `what` names the call: "an import".
        BaseException: whatever the call raises.
    """
    if threading.current_thread() is threading.main_thread():
        with _alarm(Hung(what, seconds)):
            return work()
    return _aside(work, Hung(what, seconds))


@contextmanager
def _alarm(hung: Hung) -> Iterator[None]:
    """Raise `hung` in the main thread when its time is over. An alarm that the caller had set is set again afterwards."""
    is_inside = True

    def fire(_signum: int, _frame: FrameType | None) -> None:
        if is_inside:
            raise hung

    previous = signal.signal(signal.SIGALRM, fire)
    began = time.monotonic()
    left, interval = signal.setitimer(signal.ITIMER_REAL, hung.seconds)
    try:
        try:
            yield
        finally:
            # The alarm may still fire before the next line is done. The outer `finally` then still restores the caller's.
            is_inside = False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL if previous is None else previous)
        if left > 0:
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - began), 0.001), interval)


def _aside(work: Callable[[], Result], hung: Hung) -> Result:
    found: list[Result] = []
    raised: list[BaseException] = []
    context = copy_context()

    def run() -> None:
        try:
            found.append(context.run(work))
        except BaseException as exc:  # noqa: BLE001 - raised again in the caller's thread
            raised.append(exc)

    thread = threading.Thread(target=run, name=f"sagaworker-{hung.what.replace(' ', '-')}", daemon=True)
    thread.start()
    thread.join(hung.seconds)
    if thread.is_alive():
        raise hung
    if raised:
        raise raised[0]
    return found[0]
