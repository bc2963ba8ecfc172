"""Where user code runs: how its time is bounded, and how it is interrupted.

No asynchronous exception may ever hit ledger code: of exceptions that a signal raised inside a database transaction, one
in four had committed all the same (measured). So a place raises only while `call` is inside user code.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any, Protocol

from sagaworker.errors import StepTimedOut

# What signal.signal wraps. The wrapper looks for a name of the handler that was there, and fails at each step to find one.
_handle: Any = getattr(sys.modules.get("_signal"), "signal", signal.signal)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a call into user code ended: one of the two."""

    result: object = None
    exception: BaseException | None = None


def _raised(exception: BaseException) -> Ended:
    """An exception that hides its class, or lies about it, is known by its type's name only."""
    try:
        is_honest = exception.__class__ is type(exception)
    except Exception:  # noqa: BLE001 - user code: any member may do anything
        is_honest = False
    return Ended(exception=exception if is_honest else RuntimeError(f"an exception of type {type(exception)!a}"))


class Place(Protocol):
    """Bounds user code. `entered` surrounds one episode. `arm` starts the hard end before an attempt is put on record, `disarm` ends it."""

    has_keyboard: bool  # whether a KeyboardInterrupt is a Ctrl-C; elsewhere it is an error of the step like others

    def entered(self) -> contextlib.AbstractContextManager[None]:
        """Within: `call` may be used."""
        ...

    def arm(self, seconds: float, slack: float) -> None:
        """From now on, unless disarmed or armed anew, this attempt may live `seconds` at most, up to `slack` less."""

    def disarm(self) -> bool:
        """Nothing that was begun is inside user code any more; whether there was a hard end to take away."""
        ...

    def call(self, function: Callable[[], object], seconds: float) -> Ended:
        """Run user code, softly bounded where the place can; never raises."""
        ...


def _called(function: Callable[[], object]) -> object:
    """Run user code; a child that it forked and that comes back ends here: it has its parent's fence and connection."""
    pid = os.getpid()
    status = 1
    try:
        result = function()
        status = 0
    except SystemExit as exc:
        status = exc.code if isinstance(exc.code, int) else status
        raise
    finally:
        if os.getpid() != pid:
            os._exit(status & 0xFF)
    return result


class _Alarm:
    """StepTimedOut by SIGALRM, only while inside user code, at most once a call. Main thread only."""

    def __init__(self) -> None:
        self.is_inside = False

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Within: `call` may be used. An alarm that somebody else has set, the host or a step that walks another saga
        inside itself, is put off meanwhile and due again afterwards.
        """
        previous = _handle(signal.SIGALRM, self._fire)
        begun_at = time.monotonic()
        delay, interval = signal.setitimer(signal.ITIMER_REAL, 0)
        try:
            yield
        finally:
            # Before the handler goes: an alarm of ours that met the default one would end the process.
            signal.setitimer(signal.ITIMER_REAL, 0)
            _handle(signal.SIGALRM, signal.SIG_DFL if previous is None else previous)
            if delay > 0:
                left = delay - (time.monotonic() - begun_at)
                signal.setitimer(signal.ITIMER_REAL, max(left, 0.001), interval)

    def call(self, function: Callable[[], object], seconds: float) -> Ended:
        try:
            try:
                # An earlier step of this episode may have taken the handler away.
                _handle(signal.SIGALRM, self._fire)
                self.is_inside = True
                signal.setitimer(signal.ITIMER_REAL, seconds)
                result = _called(function)
            finally:
                # The alarm may still fire before the next line is done; the outer except then catches it.
                self.is_inside = False
                signal.setitimer(signal.ITIMER_REAL, 0)
        except BaseException as exc:  # noqa: BLE001 - the step boundary: whatever a step does, the walk decides
            return _raised(exc)
        return Ended(result=result)

    def _fire(self, _signum: int, _frame: FrameType | None) -> None:
        if self.is_inside:
            self.is_inside = False
            raise StepTimedOut("TIMEOUT has passed")


class ChildPlace:
    """A prefork pool child, in its main thread: soft end by alarm, hard end by a watcher that needs no GIL.

    The hard end prints where the step hung and leaves the process with status 1; the parent is the witness. To arm the
    watcher starts a thread, which takes longer than a short step; so one that is armed is left alone while it has
    between `seconds - slack` and `seconds` left.
    """

    has_keyboard = False

    def __init__(self) -> None:
        self._alarm = _Alarm()
        self._ends_at: float | None = None

    def entered(self) -> contextlib.AbstractContextManager[None]:
        return self._alarm.installed()

    def arm(self, seconds: float, slack: float) -> None:
        now = time.monotonic()
        if self._ends_at is not None and seconds - slack <= self._ends_at - now <= seconds:
            return
        # Celery replaces sys.stderr by a logger without a file number.
        faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__ or 2)
        self._ends_at = now + seconds

    def disarm(self) -> bool:
        if self._ends_at is None:
            return False
        self._ends_at = None
        faulthandler.cancel_dump_traceback_later()
        return True

    def call(self, function: Callable[[], object], seconds: float) -> Ended:
        return self._alarm.call(function, seconds)


class HostPlace:
    """Somebody else's process, in its main thread: soft end by alarm, Ctrl-C raised inside user code only, no hard end."""

    has_keyboard = True

    def __init__(self) -> None:
        self._alarm = _Alarm()
        self.was_interrupted = False

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        previous = _handle(signal.SIGINT, self._interrupt)
        try:
            with self._alarm.installed():
                yield
        finally:
            _handle(signal.SIGINT, signal.SIG_DFL if previous is None else previous)

    def arm(self, seconds: float, slack: float) -> None:
        """The host is not ours to end."""

    def disarm(self) -> bool:
        """Nothing was armed."""
        return False

    def call(self, function: Callable[[], object], seconds: float) -> Ended:
        return self._alarm.call(function, seconds)

    def _interrupt(self, _signum: int, _frame: FrameType | None) -> None:
        self.was_interrupted = True
        if self._alarm.is_inside:
            self._alarm.is_inside = False
            raise KeyboardInterrupt


class ThreadPlace:
    """A thread that is not the main one: no exception from outside; `check_cancelled` is the soft end.

    At the hard end `on_stuck` is called once, from a thread of its own: the process must begin nothing more.
    """

    has_keyboard = False

    def __init__(self, on_stuck: Callable[[], None] | None = None) -> None:
        self._on_stuck = on_stuck
        self._timer: threading.Timer | None = None

    def entered(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def arm(self, seconds: float, slack: float) -> None:  # noqa: ARG002 - the place's shape
        self.disarm()
        if self._on_stuck is not None:
            self._timer = threading.Timer(seconds, self._on_stuck)
            self._timer.daemon = True
            self._timer.start()

    def disarm(self) -> bool:
        if self._timer is None:
            return False
        self._timer.cancel()
        self._timer = None
        return True

    def call(self, function: Callable[[], object], seconds: float) -> Ended:  # noqa: ARG002 - the place's shape
        try:
            return Ended(result=_called(function))
        except BaseException as exc:  # noqa: BLE001 - the step boundary: whatever a step does, the walk decides what it means
            return _raised(exc)


class Deadline:
    """What `state.check_cancelled` looks at: a local clock from the moment user code was entered."""

    __slots__ = ("_at",)

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    @property
    def has_passed(self) -> bool:
        return time.monotonic() >= self._at
