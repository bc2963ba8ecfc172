"""One worker process: its engine, and how an episode runs in the pool it belongs to."""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from billiard.process import current_process
from celery import Celery
from celery.worker import state as worker_state

from sagaworker.celery.django import renew_connections
from sagaworker.celery.worker.announce import Announcer
from sagaworker.celery.worker.polite import StopFlag, TermNotice
from sagaworker.celery.worker.spawned import Spawned
from sagaworker.celery.worker.watch import Watch
from sagaworker.domain.records import Doorbell
from sagaworker.domain.status import RunStatus
from sagaworker.doorbell.publisher import Doorbells
from sagaworker.engine import Engine
from sagaworker.episodes import ChildPlace, EpisodeEnd, Place, ThreadPlace
from sagaworker.settings import Settings

log = logging.getLogger(__name__)


# A pause between two looks is up to half of it longer, so a due saga waits for about a second at most.
WAKE = timedelta(seconds=0.7)


class Process:
    """The process this code runs in: main, a pool child, a beat, or a program that only sends."""

    def __init__(self, app: Celery, settings: Settings) -> None:
        self._app = app
        self.settings = settings
        self.stop = StopFlag()
        self.spawned = Spawned()
        self.sagas_at_once = 1  # sagas that this process, or each child that it forks, walks at the same time
        self.doorbells = Doorbells(app, settings)
        self._announcer = Announcer(app)
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._owner: str | None = None
        self._walking = 0
        self._stuck = 0

    @property
    def engine(self) -> Engine:
        """The engine of this process, made at first use. It rings through the app's own broker.

        It keeps a connection for each saga that is walked, and one more that heartbeat, watches and reads share for
        milliseconds each. On the connection of a walk, they and the walk's moves would wait for each other.
        """
        with self._lock:
            if self._engine is None:
                pool_size = self.sagas_at_once + 1
                self._engine = Engine(self.settings, ring=self.doorbells.ring, pool_size=pool_size)
                if self._owner is not None:
                    self._engine.owner = self._owner
            return self._engine

    def born(self) -> str:
        """In a pool child that was just forked: touch nothing of the parent's. Returns the child's owner uuid."""
        self._lock = threading.Lock()
        self._owner = str(uuid.uuid4())
        self._walking = self._stuck = 0
        if self._engine is not None:
            self._engine.after_fork(self._owner)
        return self._owner

    def watch_sweeps(self) -> None:
        """Make this process wake due sagas, and sweep where no beat runs, or beat's message finds every child at work.

        Not for the main process of a prefork worker, which opens no connection.
        """
        Watch(self.engine.sweep_if_overdue, self.settings.sweep_interval / 2, what="whether sweeps come").start()
        Watch(self.engine.ring_due, min(WAKE, self.settings.sweep_interval), what="what is due").start()

    def run_episode(self, saga_id: str, *, task_id: str, hostname: str) -> EpisodeEnd:
        """Run one episode for one doorbell."""
        notice = TermNotice(self.stop)
        is_told = self._app.conf.worker_send_task_events  # looked up once: that takes longer than an announcement

        def run(place: Place, should_stop: Callable[[], bool]) -> EpisodeEnd:
            return self.engine.run_episode(
                saga_id, place=place, should_stop=should_stop, entered=entered, task_id=task_id
            )

        last_idx: int | None = None

        def entered(doorbell: Doorbell, status: RunStatus) -> None:
            nonlocal last_idx
            # A step is entered again, or undone, because something failed.
            renew_connections(after_failure=status is RunStatus.COMPENSATING or doorbell.step_idx == last_idx)
            last_idx = doorbell.step_idx
            if is_told:
                self._announcer.entered(task_id, hostname, doorbell, status)

        try:
            if threading.current_thread() is not threading.main_thread():
                with self._counted():
                    return run(ThreadPlace(on_stuck=self._leave), lambda: self.stop.is_set)
            if current_process().name == "MainProcess":  # the solo pool: main's own handlers see the signals
                return run(ChildPlace(), lambda: self.stop.is_set)
            with self.spawned.walking(), notice.noted():
                return run(ChildPlace(), lambda: notice.was_given or self.stop.is_set)
        finally:
            self._announcer.left(task_id)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._lock:
            self._walking += 1
        try:
            yield
        finally:
            with self._lock:
                self._walking -= 1

    def _leave(self) -> None:
        """Exit the whole process: a step outlived its hard deadline in a thread, and threads cannot be ended.

        Sagas between two steps are yielded first. The stuck saga is taken over when its lease runs out. Exit status 1,
        so that a supervisor starts the worker again.
        """
        with self._lock:
            self._stuck += 1
            if self._stuck > 1:
                return
        grace = self.settings.step_grace.total_seconds()
        log.critical("a step is stuck beyond its hard deadline: this worker begins nothing more and exits")
        self.stop.set()
        worker_state.should_stop = 1
        deadline = time.monotonic() + grace
        while self._walking > self._stuck and time.monotonic() < deadline:
            time.sleep(0.05)
        os._exit(1)
