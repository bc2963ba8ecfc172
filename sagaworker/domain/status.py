"""What the ledger says: statuses, and the one table of moves between them.

`MOVES` is the contract between this module and `ledger/sql/`: the first line of each move's file repeats its row here,
and a test compares the two both ways.
"""

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


MOVES: dict[str, frozenset[tuple[str, str]]] = {
    # move: (status before, status after); "none" before a start
    "start": frozenset({("none", "pending")}),
    "claim": frozenset({("pending", "running"), ("running", "running"), ("compensating", "compensating")}),
    "begin": frozenset({("running", "running")}),
    "advance": frozenset({("running", "running"), ("running", "compensating")}),
    "complete": frozenset({("running", "completed"), ("running", "compensating")}),
    "retry": frozenset({("running", "running"), ("compensating", "compensating")}),
    "fail": frozenset({("running", "compensating"), ("running", "rolled_back")}),
    "compensated": frozenset(
        {("compensating", "compensating"), ("compensating", "rolled_back"), ("compensating", "failed")}
    ),
    "park": frozenset({("running", "running"), ("compensating", "compensating")}),
    "yield": frozenset({("running", "running"), ("compensating", "compensating")}),
    "cancel": frozenset(
        {
            ("pending", "pending"),
            ("pending", "rolled_back"),
            ("running", "running"),
            ("running", "compensating"),
            ("running", "rolled_back"),
        }
    ),
    "take_over": frozenset(
        {
            ("running", "running"),
            ("running", "compensating"),
            ("running", "rolled_back"),
            ("running", "failed"),
            ("compensating", "compensating"),
        }
    ),
    "checkpoint": frozenset({("running", "running")}),
    "wake": frozenset({("running", "running"), ("compensating", "compensating")}),
    "pass_over": frozenset({("pending", "pending"), ("running", "running"), ("compensating", "compensating")}),
    "absent": frozenset({("running", "running")}),
    # by operators
    "hold": frozenset({("pending", "pending"), ("running", "running"), ("compensating", "compensating")}),
    "release": frozenset({("pending", "pending"), ("running", "running"), ("compensating", "compensating")}),
    "retry_undo": frozenset({("compensating", "compensating")}),
    "retry_step": frozenset({("running", "running")}),
    "retry_passed_over": frozenset({("pending", "pending"), ("running", "running"), ("compensating", "compensating")}),
    "reopen": frozenset({("failed", "running"), ("failed", "compensating"), ("failed", "rolled_back")}),
    "skip_undo": frozenset(
        {("compensating", "compensating"), ("compensating", "rolled_back"), ("compensating", "failed")}
    ),
    "skip_step": frozenset({("running", "compensating"), ("running", "rolled_back")}),
    "resolve_happened": frozenset({("running", "running"), ("running", "compensating"), ("running", "completed")}),
    "resolve_absent": frozenset({("running", "running")}),
}

# Moves of people: no fence, but who and why, and refused on a stale view.
OPERATORS = frozenset(
    {
        "hold",
        "release",
        "retry_undo",
        "retry_step",
        "retry_passed_over",
        "reopen",
        "skip_undo",
        "skip_step",
        "resolve_happened",
        "resolve_absent",
    }
)
