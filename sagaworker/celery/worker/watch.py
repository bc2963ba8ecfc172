"""A thread by which each process that runs steps asks the ledger whether sweeps still come, and which sagas are due."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from datetime import timedelta

log = logging.getLogger(__name__)

JITTER = 0.5  # share of a tick, so that the children of one worker do not ask at once


class Watch:
    """Calls `look` about once a tick in a daemon thread, for as long as the process lives."""

    def __init__(self, look: Callable[[], object], tick: timedelta, *, what: str) -> None:
        self._look = look
        self._what = what
        self._tick = tick.total_seconds()
        self._never = threading.Event()

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name=f"sagaworker-watch-{self._what}", daemon=True).start()

    def _run(self) -> None:
        failed = False  # an outage is logged once, not at every tick
        while not self._never.wait(self._tick * (1 + JITTER * random.random())):  # noqa: S311 - jitter
            try:
                self._look()
            except Exception as exc:  # noqa: BLE001 - the thread must live; the next tick tries again
                if not failed:
                    log.warning("%s is not known: %s", self._what, exc)
                failed = True
            else:
                failed = False
