"""The doorbell: one message, at most one episode."""

from __future__ import annotations

from celery import Task

from sagaworker.celery import naming
from sagaworker.celery.tasks import later, outcome
from sagaworker.celery.tasks.base import Define
from sagaworker.celery.worker.process import Process


def register(define: Define, process: Process) -> None:
    """Define `run_saga`."""

    @define(name=naming.RUN_SAGA, bind=True)
    def run_saga(self: Task, saga_id: str) -> str:
        later.to_its_ledger(self.request, process)
        end = process.run_episode(saga_id, task_id=self.request.id, hostname=self.request.hostname)
        return outcome.told(end, self.request)
