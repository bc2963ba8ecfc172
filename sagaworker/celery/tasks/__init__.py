"""The tasks, by their public names, one file a capability. Each is one call of the engine; the engine's docs say its guarantee."""

from __future__ import annotations

from functools import partial

from celery import Celery

from sagaworker.celery.tasks import cancels, episodes, operators, reads, recovery, starts
from sagaworker.celery.tasks.base import SagaTask
from sagaworker.celery.worker.process import Process


def register(app: Celery, process: Process) -> None:
    """Define the tasks on the app."""
    define = partial(app.task, base=SagaTask, shared=False, process=process)
    for capability in (episodes, starts, cancels, recovery, operators, reads):
        capability.register(define, process)
