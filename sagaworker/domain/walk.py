"""The walk, pure: given what the ledger says, what does the holder of a saga do next?

`next_move` looks at a position that was read under the holder's fence. `after_execute` and `after_undo` look at what
one attempt came to. None of them knows a clock, a random source, a database or a step; the runner carries out what they
answer, and whatever it cannot carry out because it lost the fence simply did not happen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias, assert_never

from sagaworker.domain.retry import ONCE, UNDO_DEFAULT, RetryPolicy
from sagaworker.domain.state import ProbeAnswer
from sagaworker.domain.status import ErrorClass, RunStatus, StepStatus
from sagaworker.domain.values import Json

LOST_TRIES = 3  # attempts of a transaction that was lost by no fault of its step, besides those that RETRY allows


class InDoubt(StrEnum):
    """What to do with a step whose worker died inside it (a step's IN_DOUBT)."""

    RETRY = "retry"
    COMPENSATE = "compensate"
    PROBE = "probe"
    HALT = "halt"


class CompensateWhen(StrEnum):
    """Whether a step in doubt is undone (a step's COMPENSATE_WHEN)."""

    ALWAYS = "always"
    COMPLETED = "completed"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPolicy:
    """What a step declares about itself, as far as the walk needs it."""

    name: str
    in_doubt: InDoubt = InDoubt.RETRY
    compensate_when: CompensateWhen = CompensateWhen.ALWAYS
    tombstone: bool = False
    transactional: bool = False
    retry: RetryPolicy = ONCE
    undo_retry: RetryPolicy = UNDO_DEFAULT


@dataclass(frozen=True, kw_only=True)
class Row:
    """The current ledger row. `begun_here`: this episode put the running attempt on record and has not ended it."""

    status: StepStatus
    attempts: int = 0
    failed_attempts: int = 0
    in_doubt: int = 0
    recoveries: int = 0
    compensation_attempts: int = 0
    compensation_recoveries: int = 0
    has_completed: bool = False
    begun_here: bool = False
    quarantine: float = 0.0  # seconds until an undo may begin, by the database's clock at reading
    deadline_at: datetime | None = None
    checkpoint: Json = None
    doubted_itself: bool = True  # of a TRANSACTIONAL row: an attempt ended its own transaction, or may have


@dataclass(frozen=True, kw_only=True)
class Position:
    """Where a saga stands, read under its holder's fence."""

    status: RunStatus
    idx: int
    row: Row
    max_recoveries: int = 3
    cancel_requested: bool = False
    deadline_passed: bool = False
    on_hold: bool = False


@dataclass(frozen=True, slots=True)
class Begin:
    """Put a new attempt of the current step on record."""


@dataclass(frozen=True, slots=True)
class Execute:
    """Enter the attempt that is on record."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Ask the step whether its doubted attempt happened."""


@dataclass(frozen=True, slots=True)
class AskOperator:
    """Park until a person resolves the doubt; `error`: what a probe said that could not tell."""

    error: Mapping[str, Json] | None = None


@dataclass(frozen=True, slots=True)
class Advanced:
    """The step completed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """The attempt (or the undo) failed and is tried again after `delay` seconds.

    `doubted`: it may have happened. `counts`: it was one of the tries that RETRY allows.
    """

    delay: float
    error: Mapping[str, Json]
    doubted: bool
    counts: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail:
    """Stop going forward and undo. `undo_self`: the current step may have happened, so it is undone too."""

    reason: str
    error_class: ErrorClass
    undo_self: bool
    doubted: bool = False  # this very attempt is in doubt and that is not on record yet
    error: Mapping[str, Json] | None = None


@dataclass(frozen=True, slots=True)
class Compensate:
    """Enter the undo of the current row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordUndo:
    """The undo of the current row ended for good: compensated, skipped or compensation_failed."""

    result: StepStatus
    error: Mapping[str, Json] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """Park until the late effects of a given-up attempt can no longer come."""

    seconds: float


@dataclass(frozen=True, slots=True)
class LetGo:
    """Close the episode and let another worker go on."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The saga is terminal."""


NextMove: TypeAlias = (
    Begin | Execute | Probe | AskOperator | Fail | Compensate | RecordUndo | Quarantine | LetGo | Finished
)


def next_move(position: Position, policy: StepPolicy, *, stopping: bool = False) -> NextMove:
    """Decide the next move of the holder.

    Order for a step that was left `running`: ceiling of recoveries, then cancel or run deadline, then IN_DOUBT
    (docs/protocol.md, outcomes of an attempt). Undoing looks at neither cancel nor deadline.
    """
    match position.status:
        case RunStatus.COMPLETED | RunStatus.ROLLED_BACK | RunStatus.FAILED:
            return Finished()
        case RunStatus.PENDING:
            raise AssertionError("a held saga is never pending: claim makes it running")
        case RunStatus.RUNNING:
            return LetGo() if stopping or position.on_hold else _forward(position, policy)
        case RunStatus.COMPENSATING:
            return LetGo() if stopping or position.on_hold else _backward(position, policy)
        case _:
            assert_never(position.status)


def _forward(position: Position, policy: StepPolicy) -> NextMove:
    row = position.row
    if row.status is StepStatus.RUNNING and row.begun_here:
        return Execute()
    if row.status not in (StepStatus.RUNNING, StepStatus.PENDING):
        raise AssertionError(f"the current row of a running saga is running or pending, got {row.status}")
    left_running = row.status is StepStatus.RUNNING
    # A transaction that died with its worker was rolled back, or it would be on record.
    undo_self = (left_running and not policy.transactional) or row.in_doubt > 0
    if left_running and row.recoveries > position.max_recoveries:
        return Fail(
            reason=f"recoveries_exhausted:{policy.name}",
            error_class=ErrorClass.RECOVERIES_EXHAUSTED,
            undo_self=undo_self,
            error={"kind": "RecoveriesExhausted", "message": f"its worker died {row.recoveries} times in this step"},
        )
    if position.cancel_requested:
        return Fail(reason="cancelled", error_class=ErrorClass.CANCELLED, undo_self=undo_self)
    if position.deadline_passed:
        return Fail(reason="timed_out", error_class=ErrorClass.TIMED_OUT, undo_self=undo_self)
    return _doubted(policy) if left_running else Begin()


def _doubted(policy: StepPolicy) -> NextMove:
    if policy.transactional:
        return Begin()
    match policy.in_doubt:
        case InDoubt.RETRY:
            return Begin()
        case InDoubt.COMPENSATE:
            return Fail(
                reason=f"step_in_doubt:{policy.name}",
                error_class=ErrorClass.STEP_IN_DOUBT,
                undo_self=True,
                error={"kind": "WorkerDied", "message": "its worker died in this step and IN_DOUBT is compensate"},
            )
        case InDoubt.PROBE:
            return Probe()
        case InDoubt.HALT:
            return AskOperator()
        case _:
            assert_never(policy.in_doubt)


def _backward(position: Position, policy: StepPolicy) -> NextMove:
    row = position.row
    if row.status is StepStatus.COMPENSATION_FAILED:
        return AskOperator()  # it has halted here; a process of an older version forgot to wait
    if row.status is not StepStatus.COMPENSATING:
        raise AssertionError(f"the current row of a compensating saga is compensating, got {row.status}")
    if not row.has_completed and policy.compensate_when is CompensateWhen.COMPLETED:
        return RecordUndo(result=StepStatus.SKIPPED)
    if policy.transactional and not row.has_completed and not (row.in_doubt and row.doubted_itself):
        # Given up by a takeover or a cancel, which do not know its kind: what was not recorded was rolled back.
        return RecordUndo(result=StepStatus.SKIPPED)
    if row.compensation_recoveries > position.max_recoveries:
        return RecordUndo(
            result=StepStatus.COMPENSATION_FAILED,
            error={
                "kind": "RecoveriesExhausted",
                "message": f"its worker died {row.compensation_recoveries} times in this undo",
            },
        )
    if row.quarantine > 0 and not policy.tombstone:
        return Quarantine(seconds=row.quarantine)
    return Compensate()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """One attempt that did not succeed. `definite`: certainly without effect; `retryable`: its policy covers it."""

    error: Mapping[str, Json]
    definite: bool
    retryable: bool


def after_execute(row: Row, outcome: Failed, policy: StepPolicy, *, draw: float) -> Retry | Fail:
    """Decide what a failed attempt comes to. Attempts that died with their worker are not counted as tries."""
    tries = row.failed_attempts + 1
    if outcome.retryable and tries < policy.retry.max_attempts:
        return Retry(delay=policy.retry.delay(tries, draw), error=outcome.error, doubted=not outcome.definite)
    undo_self = not outcome.definite or row.in_doubt > 0
    return Fail(
        reason=f"step_failed:{policy.name}",
        error_class=ErrorClass.STEP_FAILED if outcome.definite else ErrorClass.STEP_IN_DOUBT,
        undo_self=undo_self,
        doubted=not outcome.definite,
        error=outcome.error,
    )


def after_lost(row: Row, outcome: Failed, policy: StepPolicy, *, draw: float) -> Retry | Fail:
    """Decide what a transaction comes to that was not committed by no fault of its step, which wrote nothing.

    It uses up no try of RETRY; but after `LOST_TRIES` it is a failure like any other.
    """
    lost = row.attempts - 1 - row.failed_attempts - row.recoveries
    if lost < LOST_TRIES:
        return Retry(delay=policy.retry.delay(max(lost, 0) + 1, draw), error=outcome.error, doubted=False, counts=False)
    return after_execute(row, outcome, policy, draw=draw)


@dataclass(frozen=True, slots=True)
class Absent:
    """The attempt in doubt did not happen: its doubt is over."""


def after_probe(row: Row, outcome: ProbeAnswer | Failed) -> Advanced | Absent | AskOperator | Quarantine:
    """Decide what a probe's answer comes to. One that raises, or returns something else, knows nothing.

    That nothing is there says little while a late effect may still come: then it is asked again when none can. A
    completed one needs no waiting.
    """
    match outcome:
        case ProbeAnswer.COMPLETED:
            return Advanced()
        case ProbeAnswer.ABSENT:
            return Quarantine(seconds=row.quarantine) if row.quarantine > 0 else Absent()
        case ProbeAnswer.UNKNOWN:
            return AskOperator()
        case Failed():
            return AskOperator(error=outcome.error)
        case _:
            assert_never(outcome)


def after_undo(row: Row, outcome: Failed | None, policy: StepPolicy, *, draw: float) -> Retry | RecordUndo:
    """Decide what one attempt of an undo comes to; None means that it returned."""
    if outcome is None:
        return RecordUndo(result=StepStatus.COMPENSATED)
    tries = row.compensation_attempts + 1
    if outcome.retryable and tries < policy.undo_retry.max_attempts:
        return Retry(delay=policy.undo_retry.delay(tries, draw), error=outcome.error, doubted=True)
    return RecordUndo(result=StepStatus.COMPENSATION_FAILED, error=outcome.error)
