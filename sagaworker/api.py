"""One engine for this process, made from the environment, and its calls as functions."""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sagaworker.domain.records import SagaRun, StepResult
from sagaworker.engine import Engine
from sagaworker.engine.cancels import CancelAnswer


@cache
def engine() -> Engine:
    """The engine of this process, made from the SAGAWORKER_ variables at first use."""
    return Engine.from_env()


def start_saga(kind: str, steps: Sequence[str | Mapping[str, Any]] | None = None, **options: Any) -> SagaRun:
    """Start one saga; see `Engine.start`."""
    return engine().start(kind, steps, **options)


def cancel_saga(saga_id: str, reason: str | None = None, who: str | None = None) -> CancelAnswer:
    """Ask for a cancel; see `Engine.cancel`."""
    return engine().cancel(saga_id, reason, who)


def get_saga(saga_id: str) -> SagaRun:
    """One run; see `Engine.get`."""
    return engine().get(saga_id)


def list_sagas(**filters: Any) -> builtins.list[SagaRun]:
    """Runs, filtered and paged; see `Engine.list`."""
    return engine().list(**filters)


def list_step_results(saga_id: str) -> builtins.list[StepResult]:
    """The ledger rows of one saga; see `Engine.list_step_results`."""
    return engine().list_step_results(saga_id)


def upsert_step_result(saga_id: str, step_idx: int, *, fence: int, output: object = None, error: object = None) -> None:
    """Note progress from inside a running step; see `Engine.upsert_step_result`."""
    engine().upsert_step_result(saga_id, step_idx, fence=fence, output=output, error=error)
