"""A saga started by a message."""

from __future__ import annotations

from typing import Any

from celery import Task

from sagaworker.celery import naming
from sagaworker.celery.tasks.base import Define
from sagaworker.celery.worker.process import Process
from sagaworker.errors import InvalidInput


def register(define: Define, process: Process) -> None:
    """Define `start_saga`."""

    @define(name=naming.START_SAGA, bind=True, ignore_result=False)
    def start_saga(
        self: Task,
        kind: str,
        step_modules: list[Any] | None = None,
        inputs: dict[str, Any] | None = None,
        **options: Any,
    ) -> str:
        for name in sorted({"wait", "connection"} & options.keys()):
            raise InvalidInput(f"option {name!r} cannot be given to a task: it is for callers in Python")
        # A message that is delivered twice carries the same task id, so it starts one saga only.
        key = options.pop("key", None) or f"task:{self.request.id}"
        return process.engine.start(kind, step_modules, inputs=inputs, key=key, **options).id
