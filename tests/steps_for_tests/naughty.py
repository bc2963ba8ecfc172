"""Steps that do what no step should. None of them may harm the worker or another saga."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

from sagaworker import SagaState


class Step:
    def compensate(self, state: SagaState) -> None:
        """Nothing to undo."""


class ReturnsSeven(Step):
    def execute(self, state: SagaState) -> int:
        return 7


class ExitsPolitely(Step):
    def execute(self, state: SagaState) -> SagaState:
        sys.exit(3)


class ExitsHard(Step):
    def execute(self, state: SagaState) -> SagaState:
        os._exit(3)


class KillsItself(Step):
    def execute(self, state: SagaState) -> SagaState:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("dead")


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


class RaisesUnprintable(Step):
    def execute(self, state: SagaState) -> SagaState:
        raise Unspeakable


class PutsTwoMegabytes(Step):
    def execute(self, state: SagaState) -> SagaState:
        return state.put_output("large", "x" * 2_000_000)


class PutsNan(Step):
    def execute(self, state: SagaState) -> SagaState:
        return state.put_output("nan", float("nan"))


class TimesOut(Step):
    TIMEOUT = 0.3

    def execute(self, state: SagaState) -> SagaState:
        threading.Event().wait(30)
        return state


class HangsBeyondReach(Step):
    """Swallows the time-out: only the hard end helps."""

    TIMEOUT = 0.3
    IN_DOUBT = "compensate"

    def execute(self, state: SagaState) -> SagaState:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                threading.Event().wait(60)
            except BaseException:
                continue
        return state
