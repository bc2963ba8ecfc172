"""Wait until something is so. Tests never sleep for a fixed time: too short fails at random, too long costs always.

A time-out here tells a test that hangs from one that goes on: it is far above what anything takes on a busy machine, and
no test's outcome hangs on it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
PATIENCE = 60.0  # seconds


def wait_until(condition: Callable[[], T], *, timeout: float = PATIENCE, every: float = 0.02, what: str = "") -> T:
    """Ask `condition` every so many seconds until its answer is true, and return that answer.

    Fails after `timeout` seconds, showing the last answer. What `condition` raises is raised.
    """
    deadline = time.monotonic() + timeout
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(
                f"{what or getattr(condition, '__name__', 'it')} must be so within {timeout:g} s, got {answer!r}"
            )
        time.sleep(every)  # noqa: TID251 - here is where tests wait
    return answer
