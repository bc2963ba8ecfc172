"""The tasks, by the names of the contract. Each is one call of the engine: what they guarantee is said there."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

from celery import Celery, Task

from sagaworker.celery import naming
from sagaworker.celery.tasks import later, ours, outcome
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
        """Take nothing from the app's annotations, those of "*" included; `preflight` tells of those that name us."""

    @classmethod
    def on_bound(cls, app: Celery) -> None:  # noqa: ARG003 - Celery's signature
        """Celery has filled from the app's configuration what was open."""
        ours.settle(cls)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            inspect.signature(self.run).bind(*args, **kwargs)
        except TypeError as exc:
            raise InvalidInput(
                f"arguments of {self.name} must match {inspect.signature(self.run)}, got: {exc}"
            ) from None
        try:
            return self.run(*args, **kwargs)
        except OUTAGE as exc:
            if self.name not in naming.MOVES:
                raise
            later.after_outage(self.request, self.process.doorbells, exc)


for _name, _value in ours.FIXED.items():
    setattr(SagaTask, _name, _value)


def register(app: Celery, process: Process) -> None:
    """Define the tasks on the app."""
    define = partial(app.task, base=SagaTask, shared=False, process=process)
    _register_walk(define, process)
    _register_operators(define, process)
    _register_reads(define, process)


def _register_walk(define: Define, process: Process) -> None:
    """What moves sagas on: doorbells, starts, cancels, and what beat sends."""

    @define(name=naming.RUN_SAGA, bind=True)
    def run_saga(self: Task, saga_id: str) -> str:
        later.to_its_ledger(self.request, process)
        end = process.run_episode(saga_id, task_id=self.request.id, hostname=self.request.hostname)
        return outcome.told(end, self.request)

    @define(name=naming.START_SAGA, bind=True, ignore_result=False)
    def start_saga(
        self: Task,
        kind: str,
        step_modules: list[Any] | None = None,
        inputs: dict[str, Any] | None = None,
        **options: Any,
    ) -> str:
        for name in sorted({"wait", "connection"} & options.keys()):
            raise InvalidInput(f"option {name!r} must not be given to a task, got it", "it is for callers in Python")
        # A message that is delivered twice carries the same task id: it starts nothing twice.
        key = options.pop("key", None) or f"task:{self.request.id}"
        return process.engine.start(kind, step_modules, inputs=inputs, key=key, **options).id

    @define(name=naming.CANCEL_SAGA, bind=True)
    def cancel_saga(self: Task, saga_id: str, reason: str | None = None, who: str | None = None) -> str:
        return process.engine.cancel(saga_id, reason, who, request=self.request.id)

    @define(name=naming.SWEEP_ORPHANS)
    def sweep_orphans() -> dict[str, int]:
        return asdict(process.engine.sweep_tick())

    @define(name=naming.RECOVER)
    def recover() -> dict[str, int]:
        return dict(process.engine.recover().counts)

    @define(name=naming.WAKE_DUE)
    def wake_due() -> int:
        return process.engine.ring_due()


def _register_operators(define: Define, process: Process) -> None:
    """What people do. Each returns the status the move left; a refusal fails the call with its sentence."""

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


def _register_reads(define: Define, process: Process) -> None:
    """Reads return JSON: they are of use to clients of an app that has a result backend."""

    @define(name=naming.GET_SAGA, ignore_result=False)
    def get_saga(saga_id: str) -> Any:
        return _json(process.engine.get(saga_id))

    @define(name=naming.EXPLAIN_SAGA, ignore_result=False)
    def explain_saga(saga_id: str) -> Any:
        return _json(process.engine.explain(saga_id))

    @define(name=naming.LIST_SAGAS, ignore_result=False)
    def list_sagas(**filters: Any) -> Any:
        return [_json(run) for run in process.engine.list(**filters)]

    @define(name=naming.LIST_STEP_RESULTS, ignore_result=False)
    def list_step_results(saga_id: str) -> Any:
        return [_json(row) for row in process.engine.list_step_results(saga_id)]


def _json(record: Any) -> Any:
    """A record as plain JSON; instants in ISO 8601."""
    return json.loads(json.dumps(asdict(record), default=lambda value: value.isoformat()))
