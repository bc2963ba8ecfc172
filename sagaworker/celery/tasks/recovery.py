"""The tasks that beat sends, and the one that a worker sends itself at its start."""

from __future__ import annotations

from dataclasses import asdict

from sagaworker.celery import naming
from sagaworker.celery.tasks.base import Define
from sagaworker.celery.worker.process import Process


def register(define: Define, process: Process) -> None:
    """Define `sweep_orphans`, `recover` and `wake_due`."""

    @define(name=naming.SWEEP_ORPHANS)
    def sweep_orphans() -> dict[str, int]:
        return asdict(process.engine.sweep_tick())

    @define(name=naming.RECOVER)
    def recover() -> dict[str, int]:
        return dict(process.engine.recover().counts)

    @define(name=naming.WAKE_DUE)
    def wake_due() -> int:
        return process.engine.ring_due()
