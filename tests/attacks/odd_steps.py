"""Steps that misbehave. What the well-behaved parts of them did is noted in EFFECTS, outside the ledger."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping

from sagaworker import RetryPolicy, SagaState, StepFailed

EFFECTS: list[str] = []


class Works:
    def execute(self, state):
        EFFECTS.append(f"execute {state.step_idx}")
        return state

    def compensate(self, state):
        EFFECTS.append(f"undo {state.step_idx} {state.outcome}")


class Calls(Works):
    """Does what the test put into `hook`, and returns what that returns, or its state."""

    hook: Callable[[SagaState], object] = staticmethod(lambda state: state)

    def execute(self, state):
        EFFECTS.append(f"execute {state.step_idx}")
        found = type(self).hook(state)
        return state if found is None else found


class Declines(Works):
    TOMBSTONE = True

    def execute(self, state):
        raise StepFailed("declined")


class DeclinedWithoutDetails(StepFailed):
    """A subclass that never calls StepFailed.__init__, as people write them."""

    def __init__(self, code):
        self.code = code

    def __str__(self):
        return f"declined: {self.code}"


class EvilRepr:
    def __repr__(self):
        return repr(self)


class EvilMapping(Mapping):
    def __getitem__(self, name):
        raise RuntimeError("no item")

    def __iter__(self):
        raise RuntimeError("no iteration")

    def __len__(self):
        return -1  # noqa: PLE0303 - it lies


class NoClass(Exception):
    @property
    def __class__(self):
        raise RuntimeError("no class")


class NoTraceback(Exception):
    @property
    def __traceback__(self):
        return 7


class OddName(type):
    @property
    def __name__(cls):
        return "nul \x00 surrogate \ud800"


class WithOddName(Exception, metaclass=OddName):
    pass


def from_an_odd_file():
    code = compile("def run():\n    raise RuntimeError('odd file')\n", "/tmp/\udcff\ud800.py", "exec")
    names: dict[str, Callable[[], None]] = {}
    exec(code, names)
    names["run"]()


def deep(n=0):
    return deep(n + 1)


def raises(exception):
    raise exception


def deeply_named():
    raise type("x" * 5_000_000, (Exception,), {})("long name")


async def cancelled():
    raise asyncio.CancelledError


def details_of(value):
    failed = StepFailed("odd details")
    failed.details = value
    raise failed


class StopsInTruth(dict):
    def __bool__(self):
        raise RuntimeError("neither true nor false")


# What execute does, and whether that is a definite failure.
ODD = {
    "deep recursion": (deep, False),
    "MemoryError": (lambda: raises(MemoryError()), False),
    "StopIteration": (lambda: raises(StopIteration()), False),
    "GeneratorExit": (lambda: raises(GeneratorExit()), False),
    "CancelledError": (lambda: raises(asyncio.CancelledError()), False),
    "CancelledError in a loop": (lambda: asyncio.run(cancelled()), False),
    "BaseExceptionGroup": (lambda: raises(BaseExceptionGroup("two", [ValueError(), SystemExit()])), False),
    "no __class__": (lambda: raises(NoClass()), False),
    "odd __traceback__": (lambda: raises(NoTraceback()), False),
    "odd __name__": (lambda: raises(WithOddName()), False),
    "a name of 5 MB": (deeply_named, False),
    "a file that is no text": (from_an_odd_file, False),
    "a message of 10 MB": (lambda: raises(RuntimeError("x" * 10_000_000)), False),
    "recursion in __str__": (lambda: raises(RuntimeError(EvilRepr())), False),
    "a subclass without details": (lambda: raises(DeclinedWithoutDetails(51)), True),
    "details that are no JSON": (lambda: raises(StepFailed("x", at=object())), True),
    "details with NaN": (lambda: raises(StepFailed("x", at=float("nan"))), True),
    "details with recursion in __repr__": (lambda: raises(StepFailed("x", at=EvilRepr())), True),
    "details that are an evil mapping": (lambda: details_of(EvilMapping()), True),
    "details without truth": (lambda: details_of(StopsInTruth(a=1)), True),
    "details of 10 MB": (lambda: raises(StepFailed("x", at="y" * 10_000_000)), True),
    "details with a surrogate": (lambda: raises(StepFailed("x", at="\ud800")), True),
}


class Odd(Works):
    """Ends as the input `odd` says."""

    def execute(self, state):
        EFFECTS.append(f"execute {state.step_idx}")
        ODD[state.get_input("odd")][0]()
        return state


class OddUndo(Works):
    COMPENSATE_RETRY = RetryPolicy(max_attempts=1)

    def compensate(self, state):
        ODD[state.get_input("odd")][0]()


class Forks(Works):
    """Forks, and the child comes back out of execute too."""

    def execute(self, state):
        pid = os.fork()
        if pid == 0:
            how = state.get_input("how")
            if how == "raises":
                raise RuntimeError("in the child")
            if how == "leaves":
                sys.exit(3)
            return state.put_output("from", "child")
        _, status = os.waitpid(pid, 0)
        EFFECTS.append(f"child {os.waitstatus_to_exitcode(status)}")
        return state.put_output("from", "parent")


class TakesTheAlarm(Works):
    """Leaves the process without our handler of SIGALRM."""

    def execute(self, state):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, 1000)
        return state


class Hangs(Works):
    TIMEOUT = 0.2

    def execute(self, state):
        threading.Event().wait(20)
        return state
