"""What one call into user code came to, in the walk's terms."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path

from sagaworker.domain.retry import ONCE, RetryPolicy
from sagaworker.domain.state import ProbeAnswer, Probed, SagaState, descends_from
from sagaworker.domain.values import Json, checked_copy, encoded
from sagaworker.domain.walk import Failed
from sagaworker.episodes.place import Ended
from sagaworker.errors import InvalidInput, StepFailed

MAX_MESSAGE = 2000
MAX_DETAILS = 16 * 1024  # bytes of JSON: the error is written twice, into the row and the journal
LEGAL_RESULTS = "the state it was given, or one made from it by put_output"
LEGAL_ANSWERS = "Probed.completed(state), Probed.absent() or Probed.unknown()"


def executed(ended: Ended, given: SagaState, retry: RetryPolicy) -> SagaState | Failed:
    """The state that a step returned, or why its attempt did not succeed."""
    if ended.exception is not None:
        return _failed(ended.exception, retry)
    if isinstance(ended.result, SagaState) and descends_from(ended.result, given):
        return ended.result
    return _failed(_malformed("execute", LEGAL_RESULTS, ended.result), retry)


def probed(ended: Ended, given: SagaState) -> tuple[ProbeAnswer | Failed, SagaState | None]:
    """What a probe answered, and where it says completed the state with the outputs."""
    if ended.exception is not None:
        return _failed(ended.exception, ONCE), None
    result = ended.result
    if not isinstance(result, Probed):
        return _failed(_malformed("probe", LEGAL_ANSWERS, result), ONCE), None
    if result.answer is ProbeAnswer.COMPLETED:
        if isinstance(result.state, SagaState) and descends_from(result.state, given):
            return result.answer, result.state
        return _failed(_malformed("Probed.completed of probe", LEGAL_RESULTS, result.state), ONCE), None
    if result.answer is ProbeAnswer.UNKNOWN and result.reason:
        error: dict[str, Json] = {"kind": "", "message": _told(lambda: str(result.reason))}
        return Failed(error=error, definite=False, retryable=False), None
    return result.answer, None


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


def refusal(exception: BaseException, retry: RetryPolicy, *, definite: bool) -> Failed:
    """An attempt whose transaction was refused or lost, for this reason."""
    return Failed(error=described(exception), definite=definite, retryable=retry.covers(exception))


def plain(exception: BaseException) -> dict[str, Json]:
    """Why something could not be recorded, in ASCII and short: this can be."""
    text = f"an error that the server refuses to record: {type(exception).__name__}"
    code = getattr(exception, "sqlstate", None)
    return {"kind": "Unrecordable", "message": text if code is None else f"{text}, SQLSTATE {code}"}


def _failed(exception: BaseException, retry: RetryPolicy) -> Failed:
    return Failed(
        error=described(exception),
        definite=isinstance(exception, StepFailed),
        retryable=retry.covers(exception),
    )


def described(exception: BaseException) -> dict[str, Json]:
    """An exception as JSON: kind, message, where it was raised, and the details of a StepFailed.

    Never raises and never grows: whatever the exception's own members do, what comes back can be recorded.
    """
    error: dict[str, Json] = {"kind": _told(lambda: type(exception).__name__), "message": _told(lambda: str(exception))}
    where = _told(lambda: _where(exception))
    if where:
        error["at"] = where
    if isinstance(exception, StepFailed):
        error |= _details(exception)
    return error


def _details(exception: StepFailed) -> dict[str, Json]:
    """Its details as they are where they are JSON of a reasonable size, else as text."""
    # A subclass may have no details: not every __init__ calls the one it derives from.
    details = getattr(exception, "details", None)
    try:
        copy = checked_copy(details, "details")
        if copy in (None, {}):
            return {}
        if len(encoded(copy)) <= MAX_DETAILS:
            return {"details": copy}
    except Exception:  # noqa: BLE001, S110 - user code: a mapping may do anything; its text is tried next
        pass
    return {"details": _told(lambda: repr(details))}


def _told(text: Callable[[], str]) -> str:
    """What user code tells about itself, as text that PostgreSQL can hold; never raises."""
    try:
        return _safe(text())
    except Exception as exc:  # noqa: BLE001 - user code: __str__ and __repr__ may do anything
        return f"<unprintable: {type(exc).__name__}>"


def _safe(text: str) -> str:
    """Text that PostgreSQL can hold: no NUL, no lone surrogate, of bounded length."""
    text = text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 3] + "..."
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode()


def _where(exception: BaseException) -> str:
    """The innermost frame; without its source, which is not asked for and may not be text."""
    last = None
    for last in traceback.walk_tb(exception.__traceback__):  # noqa: B007 - the last one is wanted
        pass
    if last is None:
        return ""
    code = last[0].f_code
    return f"{Path(code.co_filename).name}:{last[1]} in {code.co_name}"
