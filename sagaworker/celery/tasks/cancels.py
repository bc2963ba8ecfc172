"""A saga cancelled by a message."""

from __future__ import annotations

from celery import Task

from sagaworker.celery import naming
from sagaworker.celery.tasks.base import Define
from sagaworker.celery.worker.process import Process


def register(define: Define, process: Process) -> None:
    """Define `cancel_saga`."""

    @define(name=naming.CANCEL_SAGA, bind=True)
    def cancel_saga(self: Task, saga_id: str, reason: str | None = None, who: str | None = None) -> str:
        return process.engine.cancel(saga_id, reason, who, request=self.request.id)
