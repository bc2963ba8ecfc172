"""Task events for Flower while a saga runs, with the saga's readable name and its current step.

A separate thread sends them, a few times a second at most: a saga of trivial steps would otherwise spend half of its
time on sending events.
"""

from __future__ import annotations

import logging
import os
import threading

from celery import Celery

from sagaworker.domain.records import Doorbell
from sagaworker.domain.status import RunStatus

log = logging.getLogger(__name__)

# Seconds from the first news to a round of events; news in between is left out. Main's own events of the same task are
# up to EVENTS_EVERY late, and these must come after them: a monitor takes the last event as the task's state.
EVERY = 0.25
STATES = {RunStatus.RUNNING: "task-executing", RunStatus.COMPENSATING: "task-compensating"}


class Announcer:
    """Keeps the latest place of each running task of this process and sends it as a task event."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._latest: dict[str, tuple[str, str, Doorbell]] = {}
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._pid = 0

    def entered(self, task_id: str, hostname: str, doorbell: Doorbell, status: RunStatus) -> None:
        """A step or an undo is entered. Costs a dictionary entry; never raises, never waits for the broker."""
        with self._lock:
            self._latest[task_id] = (hostname, STATES[status], doorbell)
            if self._pid != os.getpid():  # the thread does not survive a fork
                self._pid = os.getpid()
                self._news = threading.Event()
                threading.Thread(target=self._run, name="sagaworker-announcer", daemon=True).start()
        if not self._news.is_set():
            self._news.set()

    def left(self, task_id: str) -> None:
        """The task is over; its unsent news is dropped."""
        with self._lock:
            self._latest.pop(task_id, None)

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            self._news.wait()
            pause.wait(EVERY)
            self._news.clear()
            with self._lock:
                latest, self._latest = self._latest, {}
            for task_id, (hostname, kind, doorbell) in latest.items():
                self._send(task_id, hostname, kind, doorbell)

    def _send(self, task_id: str, hostname: str, kind: str, doorbell: Doorbell) -> None:
        try:
            with self._app.events.default_dispatcher(hostname=hostname) as dispatcher:
                dispatcher.send(kind, uuid=task_id, name=doorbell.label, retry=False)
        except Exception as exc:  # noqa: BLE001 - events are for people's eyes; no saga depends on one
            log.debug("task event not sent: %s", exc)
