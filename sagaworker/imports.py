"""Imports of users' modules, bounded: one that hangs costs its process a wait, and then nothing more for a while."""

from __future__ import annotations

import importlib
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, ModuleType

LONGEST = 30.0  # seconds for one import: also large libraries are read within that
REMEMBERED = 600.0  # seconds for which a module that hung is not tried again in this process


class ImportHung(Exception):
    """A module did not finish its import in time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds

    def __str__(self) -> str:
        return f"an import that does not end within {self.seconds:g} s"


class Imports:
    """Imports by name within a bound. Safe between threads."""

    def __init__(self, *, within: float = LONGEST) -> None:
        self.within = within
        self._hung_until: dict[str, float] = {}

    def module(self, name: str) -> ModuleType:
        """The module of that name, imported at once where it is there already.

        In the main thread by an alarm, so that what a module makes at its import belongs to the thread that uses it;
        elsewhere in a thread of its own, which is left behind when it hangs.

        Raises:
            ImportHung: it did not end in time, now or a short while ago.
            BaseException: whatever the import raises.
        """
        there = sys.modules.get(name)
        if there is not None and not getattr(getattr(there, "__spec__", None), "_initializing", False):
            return there
        if time.monotonic() < self._hung_until.get(name, 0):
            raise ImportHung(self.within)
        try:
            if threading.current_thread() is threading.main_thread():
                with _alarm(self.within):
                    return importlib.import_module(name)
            return _aside(name, self.within)
        except ImportHung:
            self._hung_until[name] = time.monotonic() + REMEMBERED
            raise


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise ImportHung in the main thread after so long. An alarm of somebody else's is due again afterwards."""

    def fire(_signum: int, _frame: FrameType | None) -> None:
        raise ImportHung(seconds)

    previous = signal.signal(signal.SIGALRM, fire)
    began = time.monotonic()
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL if previous is None else previous)
        if left > 0:
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - began), 0.001), interval)


def _aside(name: str, seconds: float) -> ModuleType:
    found: list[ModuleType] = []
    raised: list[BaseException] = []

    def work() -> None:
        try:
            found.append(importlib.import_module(name))
        except BaseException as exc:  # noqa: BLE001 - raised again where it was asked for
            raised.append(exc)

    thread = threading.Thread(target=work, name=f"sagaworker-import-{name}", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise ImportHung(seconds)
    if raised:
        raise raised[0]
    return found[0]
