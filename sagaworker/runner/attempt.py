"""What one call into user code came to, in the walk's terms."""

from __future__ import annotations

import traceback
from pathlib import Path

from sagaworker.domain.retry import RetryPolicy
from sagaworker.domain.state import SagaState, descends_from
from sagaworker.domain.values import Json, checked_copy
from sagaworker.domain.walk import Failed
from sagaworker.errors import InvalidInput, StepFailed
from sagaworker.runner.place import Ended

MAX_MESSAGE = 2000
LEGAL_RESULTS = "the state it was given, or one made from it by put_output"


def executed(ended: Ended, given: SagaState, retry: RetryPolicy) -> SagaState | Failed:
    """The state that a step returned, or why its attempt did not succeed."""
    if ended.exception is not None:
        return _failed(ended.exception, retry)
    if isinstance(ended.result, SagaState) and descends_from(ended.result, given):
        return ended.result
    return _failed(_malformed("execute", LEGAL_RESULTS, ended.result), retry)


def undone(ended: Ended, retry: RetryPolicy) -> Failed | None:
    """None when the undo returned None, else why it did not succeed."""
    if ended.exception is not None:
        failed = _failed(ended.exception, retry)
        # A StepFailed from an undo says that the undo did not happen: it is tried again like any other failure.
        return Failed(error=failed.error, definite=failed.definite, retryable=True) if failed.definite else failed
    if ended.result is None:
        return None
    return _failed(_malformed("compensate", "None", ended.result), retry)


def _malformed(member: str, legal: str, result: object) -> InvalidInput:
    return InvalidInput(f"{member} must return {legal}, got a {type(result).__name__}", "see docs/writing-steps.md")


def _failed(exception: BaseException, retry: RetryPolicy) -> Failed:
    return Failed(
        error=described(exception),
        definite=isinstance(exception, StepFailed),
        retryable=retry.covers(exception),
    )


def described(exception: BaseException) -> dict[str, Json]:
    """An exception as JSON: kind, message, where it was raised, and the details of a StepFailed. Never raises."""
    error: dict[str, Json] = {"kind": type(exception).__name__, "message": _message(exception)}
    where = _where(exception)
    if where:
        error["at"] = where
    if isinstance(exception, StepFailed) and exception.details:
        try:
            error["details"] = checked_copy(exception.details, "details")
        except InvalidInput:
            error["details"] = _safe(repr(exception.details))
    return error


def _message(exception: BaseException) -> str:
    try:
        text = str(exception)
    except Exception:  # noqa: BLE001 - user code: __str__ may do anything
        return f"<unprintable {type(exception).__name__}>"
    return _safe(text)


def _safe(text: str) -> str:
    """Text that PostgreSQL can hold: no NUL, no lone surrogate, of bounded length."""
    text = text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 3] + "..."


def _where(exception: BaseException) -> str:
    frames = traceback.extract_tb(exception.__traceback__)
    if not frames:
        return ""
    last = frames[-1]
    return f"{Path(last.filename).name}:{last.lineno} in {last.name}"
