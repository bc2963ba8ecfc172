"""What Flower shows while a saga runs: task events with the readable name and the place of the saga.

Sent from a thread of their own, a few times a second at most: a saga of trivial steps would otherwise spend half of its
time on telling about them.
"""

from __future__ import annotations

import logging
import os
import threading

from celery import Celery

from sagaworker.domain.records import Doorbell
from sagaworker.domain.status import RunStatus

log = logging.getLogger(__name__)

EVERY = 0.25  # seconds between two rounds of events: what happened in between is left out
STATES = {RunStatus.RUNNING: "task-executing", RunStatus.COMPENSATING: "task-compensating"}


class Announcer:
    """Keeps the latest place of each running task of this process and sends it as a task event."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._latest: dict[str, tuple[str, dict[str, str]]] = {}
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._pid = 0

    def entered(self, task_id: str, hostname: str, doorbell: Doorbell, status: RunStatus) -> None:
        """A step or an undo is entered. Costs a dictionary entry; never raises, never waits for the broker."""
        with self._lock:
            self._latest[task_id] = (hostname, {"type": STATES[status], "name": doorbell.label})
            if self._pid != os.getpid():  # the thread does not survive a fork
                self._pid = os.getpid()
                self._news = threading.Event()
                threading.Thread(target=self._run, name="sagaworker-announcer", daemon=True).start()
        self._news.set()

    def left(self, task_id: str) -> None:
        """The task is over; what was not sent of it is not sent any more."""
        with self._lock:
            self._latest.pop(task_id, None)

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            self._news.wait()
            self._news.clear()
            with self._lock:
                latest, self._latest = self._latest, {}
            for task_id, (hostname, event) in latest.items():
                self._send(task_id, hostname, event)
            pause.wait(EVERY)

    def _send(self, task_id: str, hostname: str, event: dict[str, str]) -> None:
        try:
            with self._app.events.default_dispatcher(hostname=hostname) as dispatcher:
                dispatcher.send(event["type"], uuid=task_id, name=event["name"], retry=False)
        except Exception as exc:  # noqa: BLE001 - events are for people's eyes; no saga depends on one
            log.debug("task event not sent: %s", exc)
