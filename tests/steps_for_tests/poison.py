"""Steps that kill or hang the process they run in, every time. Their undo is harmless."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import time

from sagaworker import SagaState


class Poison:
    TIMEOUT = 60  # so that nothing but the poison ends them

    def compensate(self, state: SagaState) -> None:
        """Nothing to undo."""


class Segfaults(Poison):
    def execute(self, state: SagaState) -> SagaState:
        ctypes.string_at(0)
        return state


class LeavesAtOnce(Poison):
    def execute(self, state: SagaState) -> SagaState:
        os._exit(7)


class EatsMemory(Poison):
    """Ends like a process without memory: what it asks for is refused, and it cannot go on."""

    def execute(self, state: SagaState) -> SagaState:
        resource.setrlimit(resource.RLIMIT_AS, (2**29, resource.RLIM_INFINITY))
        eaten = []
        try:
            while True:
                eaten.append(bytearray(2**24))
        except MemoryError:
            os.abort()


class Loops(Poison):
    """Swallows the soft end."""

    TIMEOUT = 0.5

    def execute(self, state: SagaState) -> SagaState:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                while True:
                    pass
            except BaseException:
                continue
        return state


class HoldsTheGil(Poison):
    """No other thread of the process runs meanwhile, no signal handler either."""

    TIMEOUT = 0.5

    def execute(self, state: SagaState) -> SagaState:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])  # else the alarm cuts the sleep short
        ctypes.PyDLL(None).sleep(60)
        return state
