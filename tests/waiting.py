"""Wait until a condition is true. Tests never sleep for a fixed time: too short fails at random, too long always costs.

A time-out here only detects a test that hangs. It is far longer than any wait on a busy machine, and decides no test's
result.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
PATIENCE = 60.0  # seconds


def wait_until(condition: Callable[[], T], *, timeout: float = PATIENCE, every: float = 0.02, what: str = "") -> T:
    """Ask `condition` every so many seconds until its answer is true, and return that answer.

    Fails after `timeout` seconds, showing the last answer. An exception of `condition` is raised.
    """
    deadline = time.monotonic() + timeout
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(
                f"{what or getattr(condition, '__name__', 'it')} must be so within {timeout:g} s, got {answer!r}"
            )
        time.sleep(every)  # noqa: TID251 - the one place where tests wait
    return answer
