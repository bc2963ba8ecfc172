"""The base of all our tasks: a single attempt, checked arguments, and the handling of an outage."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cached_property
from typing import Any

from celery import Celery, Task

from sagaworker.celery import naming
from sagaworker.celery.tasks import later, ours
from sagaworker.celery.worker.process import Process
from sagaworker.errors import InvalidInput, SagaworkerError
from sagaworker.ledger.outage import OUTAGE

Define = Callable[..., Callable[[Callable[..., object]], object]]


class SagaTask(Task):
    """Single attempt, refuses wrong arguments with one sentence, and never logs a refusal as a fault."""

    Request = "sagaworker.celery.tasks.request:SagaRequest"
    ignore_result = True
    throws = (SagaworkerError,)  # Celery logs these without a traceback
    process: Process

    @classmethod
    def annotate(cls) -> None:
        """Take nothing from the app's annotations, including "*"; `preflight` warns of annotations that name our tasks."""

    @classmethod
    def on_bound(cls, app: Celery) -> None:  # noqa: ARG003 - Celery's signature
        """Undo what Celery has just filled in from the app's configuration."""
        ours.settle(cls)

    @cached_property
    def _parameters(self) -> inspect.Signature:
        return inspect.signature(self.run)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            self._parameters.bind(*args, **kwargs)
        except TypeError as exc:
            raise InvalidInput(f"arguments of {self.name} must match {self._parameters}, got: {exc}") from None
        try:
            return self.run(*args, **kwargs)
        except OUTAGE as exc:
            if self.name not in naming.MOVES:
                raise
            later.after_outage(self.request, self.process.doorbells, exc)


for _name, _value in ours.FIXED.items():
    setattr(SagaTask, _name, _value)
