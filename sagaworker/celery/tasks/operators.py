"""The moves of operators. Each task returns the status after the move; a refusal fails the call with its sentence."""

from __future__ import annotations

from typing import Any

from celery import Task

from sagaworker.celery import naming
from sagaworker.celery.tasks.base import Define
from sagaworker.celery.worker.process import Process


def register(define: Define, process: Process) -> None:
    """Define `hold_saga`, `release_saga`, `retry_saga`, `skip_saga` and `resolve_saga`."""

    @define(name=naming.HOLD_SAGA, bind=True, ignore_result=False)
    def hold_saga(self: Task, saga_id: str, *, reason: str, who: str, seq: int | None = None) -> str:
        return process.engine.hold(saga_id, reason=reason, who=who, seq=seq, request=self.request.id).status

    @define(name=naming.RELEASE_SAGA, bind=True, ignore_result=False)
    def release_saga(self: Task, saga_id: str, *, reason: str, who: str, seq: int | None = None) -> str:
        return process.engine.release(saga_id, reason=reason, who=who, seq=seq, request=self.request.id).status

    @define(name=naming.RETRY_SAGA, bind=True, ignore_result=False)
    def retry_saga(
        self: Task, saga_id: str, *, reason: str, who: str, seq: int | None = None, undo: bool = False
    ) -> str:
        return process.engine.retry(saga_id, reason=reason, who=who, seq=seq, undo=undo, request=self.request.id).status

    @define(name=naming.SKIP_SAGA, bind=True, ignore_result=False)
    def skip_saga(self: Task, saga_id: str, *, reason: str, who: str, seq: int | None = None) -> str:
        return process.engine.skip(saga_id, reason=reason, who=who, seq=seq, request=self.request.id).status

    @define(name=naming.RESOLVE_SAGA, bind=True, ignore_result=False)
    def resolve_saga(
        self: Task,
        saga_id: str,
        *,
        happened: bool,
        reason: str,
        who: str,
        outputs: dict[str, Any] | None = None,
        seq: int | None = None,
    ) -> str:
        run = process.engine.resolve(
            saga_id, happened=happened, reason=reason, who=who, outputs=outputs, seq=seq, request=self.request.id
        )
        return run.status
