"""sagaworker: durable sagas on the Celery workers you already run."""

from sagaworker.domain.retry import RetryPolicy
from sagaworker.domain.state import SagaState
from sagaworker.errors import (
    Fenced,
    InvalidInput,
    InvalidSetting,
    KeyConflict,
    SagaNotFound,
    SagaworkerError,
    StepCancelled,
    StepFailed,
    StepTimedOut,
    UnknownStep,
    WaitTimeout,
)

__all__ = [
    "Fenced",
    "InvalidInput",
    "InvalidSetting",
    "KeyConflict",
    "RetryPolicy",
    "SagaNotFound",
    "SagaState",
    "SagaworkerError",
    "StepCancelled",
    "StepFailed",
    "StepTimedOut",
    "UnknownStep",
    "WaitTimeout",
]
