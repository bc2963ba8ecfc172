"""Reads, answered as JSON. They are useful to clients of an app that has a result backend."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from sagaworker.celery import naming
from sagaworker.celery.tasks.base import Define
from sagaworker.celery.worker.process import Process


def register(define: Define, process: Process) -> None:
    """Define `get_saga`, `explain_saga`, `list_sagas` and `list_step_results`."""

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
