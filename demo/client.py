"""A plain Celery client that knows only the broker and the names of the tasks."""

from __future__ import annotations

from celery import Celery

from demo.cast import Part


class Client:
    """Sends tasks by name to Celery's own default queue, as any program that reaches the broker can."""

    def __init__(self, broker_url: str) -> None:
        self._app = Celery("demo-client", broker=broker_url, set_as_current=False)
        self._app.conf.task_ignore_result = True

    def start(self, part: Part) -> None:
        """Enqueue one saga."""
        asked = {
            "kind": part.kind,
            "step_modules": list(part.steps),
            "inputs": dict(part.inputs),
            "key": part.key,
            "recovery_policy": "restart",  # not this environment's default
        }
        self._app.send_task("sagaworker.start_saga", kwargs=asked)

    def cancel(self, saga_id: str, reason: str) -> None:
        """Ask for a cancel."""
        self._app.send_task("sagaworker.cancel_saga", kwargs={"saga_id": saga_id, "reason": reason})

    def close(self) -> None:
        self._app.close()
