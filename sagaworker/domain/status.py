"""The statuses of runs, rows and episodes in the ledger. The moves between statuses are in `domain/moves.py`."""

from __future__ import annotations

from enum import StrEnum


class RunStatus(StrEnum):
    """Status of a saga run (`saga_runs.status`)."""

    PENDING = "pending"
    RUNNING = "running"
    COMPENSATING = "compensating"
    COMPLETED = "completed"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"

    @property
    def is_terminal(self) -> bool:
        return self in TERMINAL


TERMINAL = frozenset({RunStatus.COMPLETED, RunStatus.ROLLED_BACK, RunStatus.FAILED})


class StepStatus(StrEnum):
    """Status of one ledger row (`saga_step_results.status`)."""

    PENDING = "pending"  # recorded, not begun
    RUNNING = "running"  # execute may have been entered
    WAITING = "waiting"  # execute asked to wait
    COMPLETED = "completed"
    FAILED = "failed"
    COMPENSATING = "compensating"
    COMPENSATED = "compensated"
    COMPENSATION_FAILED = "compensation_failed"
    SKIPPED = "skipped"


class WaitingFor(StrEnum):
    """Why an active saga is parked without a worker; null when it may run."""

    TIMER = "timer"
    RETRY = "retry"
    QUARANTINE = "quarantine"
    SIGNAL = "signal"
    APPROVAL = "approval"
    CHILDREN = "children"
    HOLD = "hold"
    OPERATOR = "operator"


class EpisodeOutcome(StrEnum):
    """How one worker's hold of a saga ended."""

    COMPLETED = "completed"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"
    PARKED = "parked"
    YIELDED = "yielded"
    ORPHANED = "orphaned"
    DIED = "died"


class ErrorClass(StrEnum):
    """Why a saga stopped going forward (`saga_runs.error_class`)."""

    STEP_FAILED = "step_failed"  # a definite failure, StepFailed
    STEP_IN_DOUBT = "step_in_doubt"  # an exception, a time-out, a bad output: the effect may have happened
    RECOVERIES_EXHAUSTED = "recoveries_exhausted"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    ORPHANED = "orphaned"
