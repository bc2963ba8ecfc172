"""Users' code outside of steps, bounded: an import, a validation, a policy. One that hangs costs its caller a wait."""

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
    """Call it and return what it returns, within so many seconds.

    In the main thread by an alarm, so that what is made there belongs to the thread that uses it; elsewhere in a thread of
    its own, in a copy of the caller's context, which is left behind when it hangs.

    Raises:
        Hung: it did not end in time. `what` says what hung: "an import".
        BaseException: whatever the call raises.
    """
    if threading.current_thread() is threading.main_thread():
        with _alarm(Hung(what, seconds)):
            return work()
    return _aside(work, Hung(what, seconds))


@contextmanager
def _alarm(hung: Hung) -> Iterator[None]:
    """Raise it in the main thread when its time is over. An alarm of somebody else's is due again afterwards."""
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
            # The alarm may still fire before the next line is done; what follows restores the caller's all the same.
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
        except BaseException as exc:  # noqa: BLE001 - raised again where it was asked for
            raised.append(exc)

    thread = threading.Thread(target=run, name=f"sagaworker-{hung.what.replace(' ', '-')}", daemon=True)
    thread.start()
    thread.join(hung.seconds)
    if thread.is_alive():
        raise hung
    if raised:
        raise raised[0]
    return found[0]
