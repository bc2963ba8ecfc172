"""The processes of `sagaworker up` and the demo: worker, beat, Flower; and whether they answer."""

from __future__ import annotations

import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from importlib.resources import files

from sagaworker.embedded import Process
from sagaworker.embedded.folder import port_is_free
from sagaworker.errors import SagaworkerError

FLOWER_PORT = 5555
_CELERY = (sys.executable, "-m", "celery", "--app=sagaworker.celery_app", "--quiet")
_FIRST_FREE, _LAST_FREE = 5556, 5755
_STOP = timedelta(seconds=20)


class NotReady(SagaworkerError):
    """A process did not answer in time."""

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(what, seconds)
        self.what = what
        self.seconds = seconds

    def __str__(self) -> str:
        return f"{self.what} must answer within {self.seconds:g} s, got nothing\nsee its output above"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """What to run: on which servers (`env`), with how many pool children, and where Flower listens.

    `worker_stop` is how long the worker may take to finish the steps it is in when it is asked to stop.
    """

    env: Mapping[str, str]
    concurrency: int
    flower_port: int
    worker_name: str
    worker_stop: timedelta = timedelta(seconds=320)  # a step's own time-out is 300 s unless it says otherwise

    @property
    def flower_url(self) -> str:
        return f"http://127.0.0.1:{self.flower_port}"

    def processes(self) -> list[Process]:
        """The processes in the order of their stop: first beat, so that nothing new comes, then the worker, then Flower."""
        beat = ("beat", "--loglevel=WARNING", "--pidfile=")
        worker = ("worker", "--loglevel=INFO", f"--concurrency={self.concurrency}", f"--hostname={self.worker_name}")
        # Flower asks the worker before the worker listens, and warns that it got no answer.
        settings = files("sagaworker.flower").joinpath("config.py")
        flower = (
            "flower",
            f"--conf={settings}",
            f"--port={self.flower_port}",
            "--address=127.0.0.1",
            "--logging=error",
        )
        return [
            Process(name="beat", argv=[*_CELERY, *beat], env=self.env, grace=_STOP),
            Process(name="worker", argv=[*_CELERY, *worker], env=self.env, grace=self.worker_stop),
            Process(name="flower", argv=[*_CELERY, *flower], env=self.env, grace=_STOP),
        ]

    def wait_ready(self, *, timeout: float = 60.0, stopped: Callable[[], bool] = lambda: False) -> None:
        """Wait until Flower and the worker answer.

        Raises:
            NotReady: one of them did not in `timeout` seconds.
        """
        until = time.monotonic() + timeout
        for what, answers in (("Flower", self.flower_answers), ("the worker", self.worker_answers)):
            while not answers() and not stopped():
                if time.monotonic() > until:
                    raise NotReady(what, timeout)
                time.sleep(0.1)

    def flower_answers(self) -> bool:
        """Whether Flower's health check answers."""
        try:
            with urllib.request.urlopen(f"{self.flower_url}/healthcheck", timeout=2) as answer:  # noqa: S310 - http above
                return bool(answer.status == 200)  # noqa: PLR2004 - HTTP's own
        except (OSError, urllib.error.URLError):
            return False

    def worker_answers(self) -> bool:
        """Whether the worker answers a ping through the broker."""
        from celery import Celery

        with Celery(broker=self.env["SAGAWORKER_BROKER_URL"], set_as_current=False) as client:
            name = self.worker_name.replace("%h", os.uname().nodename)
            return bool(client.control.ping(destination=[name], timeout=1.0, limit=1))


def flower_port(wanted: int) -> int:
    """The port wanted if it is free; 0 is any: 5555, or the first free one above it.

    Raises:
        NotReady: no port is free.
    """
    candidates = [wanted] if wanted else [FLOWER_PORT, *range(_FIRST_FREE, _LAST_FREE)]
    for port in candidates:
        if port_is_free(port):
            return port
    raise NotReady(f"a free port {candidates[0]}", 0.0)
