"""sagaworker: durable sagas on the Celery workers you already run."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from sagaworker.domain.definition import Definition
from sagaworker.domain.retry import RetryPolicy
from sagaworker.domain.state import Probed, SagaState
from sagaworker.errors import (
    Fenced,
    InvalidInput,
    InvalidSetting,
    KeyConflict,
    MoveRefused,
    SagaNotFound,
    SagaworkerError,
    SchemaMismatch,
    StaleView,
    StepCancelled,
    StepFailed,
    StepTimedOut,
    UnknownStep,
    WaitTimeout,
)

if TYPE_CHECKING:
    from sagaworker.api import cancel_saga, get_saga, list_sagas, list_step_results, start_saga, upsert_step_result
    from sagaworker.engine import Engine

__all__ = [
    "Definition",
    "Engine",
    "Fenced",
    "InvalidInput",
    "InvalidSetting",
    "KeyConflict",
    "MoveRefused",
    "Probed",
    "RetryPolicy",
    "SagaNotFound",
    "SagaState",
    "SagaworkerError",
    "SchemaMismatch",
    "StaleView",
    "StepCancelled",
    "StepFailed",
    "StepTimedOut",
    "UnknownStep",
    "WaitTimeout",
    "cancel_saga",
    "get_saga",
    "list_sagas",
    "list_step_results",
    "start_saga",
    "upsert_step_result",
]

# A step module imports this package for SagaState alone; the engine and its drivers come with the first who asks.
_LATER = {
    "Engine": "sagaworker.engine",
    "cancel_saga": "sagaworker.api",
    "get_saga": "sagaworker.api",
    "list_sagas": "sagaworker.api",
    "list_step_results": "sagaworker.api",
    "start_saga": "sagaworker.api",
    "upsert_step_result": "sagaworker.api",
}


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module 'sagaworker' has no attribute {name!r}")
    return getattr(importlib.import_module(_LATER[name]), name)
