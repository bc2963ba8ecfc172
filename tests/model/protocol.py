"""The protocol's core as an explicit-state model: one saga, a few workers, and everything that may befall them.

A state is one tuple; `world.successors` gives every state that one action leads to. What a holder does is decided by
`sagaworker.domain.walk` itself, so the model moves with the code; `moves.py` restates the guards of `ledger/sql/`.
Effects are ghosts: they are in the world, not in the ledger, and a worker that lost its saga may still bring them about.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from sagaworker.domain import walk
from sagaworker.domain.retry import RetryPolicy
from sagaworker.domain.state import ProbeAnswer
from sagaworker.domain.status import RunStatus, StepStatus

PENDING, RUNNING, COMPENSATING = RunStatus.PENDING.value, RunStatus.RUNNING.value, RunStatus.COMPENSATING.value
COMPLETED, ROLLED_BACK, FAILED = RunStatus.COMPLETED.value, RunStatus.ROLLED_BACK.value, RunStatus.FAILED.value
TERMINAL = (COMPLETED, ROLLED_BACK, FAILED)
COMPENSATED, NOT_UNDONE = StepStatus.COMPENSATED.value, StepStatus.COMPENSATION_FAILED.value
SKIPPED = StepStatus.SKIPPED.value

MUTANTS = (
    "no_fence",
    "one_shot_claim",
    "completion_ignores_cancel",
    "undo_from_below",
    "two_commits",
    "no_write_ahead",
    "no_rering",
    "recoveries_uncounted",
    "lost_ack_is_failure",
    "no_quarantine",
    "exception_is_definite",
    "failed_undo_is_done",
    "doubt_not_sticky",
    "witness_without_fence_or_count",
    "polite_stop_is_doubt",
    "seq_in_guard",
    # Of what people and probes are promised; these are no mutants of the code.
    "advance_ignores_hold",
    "absent_in_quarantine",
    "answer_ignores_cancel",
    "skip_undoes_nothing",
    "reopened_to_undo_goes_on",
    "doubt_of_transaction_is_undone",
)


@dataclass(frozen=True, kw_only=True)
class Config:
    """The size of the world: steps and workers, and how often each kind of trouble may come."""

    steps: int = 2
    workers: int = 2
    crashes: int = 1
    takeovers: int = 1  # of leases that expired, whether the holder is dead or only paused
    cancels: int = 0
    losses: int = 0  # moves whose acknowledgement is lost; the move itself lands now, later or never
    yields: int = 0
    bells: int = 1  # doorbells that are lost or doubled
    failures: bool = True  # a step may fail, definitely or by an exception
    undo_fails: bool = False
    undo_attempts: int = 1
    halts: bool = False  # on_compensation_failure
    deadlines: int = 0  # the run's deadline may pass
    holds: int = 0  # by an operator; releases, skips and answers are free
    retries: int = 0  # by an operator, reopening included
    max_attempts: int = 1
    lists_declines: bool = False  # RETRY names StepFailed too
    max_recoveries: int = 1
    in_doubt: walk.InDoubt = walk.InDoubt.RETRY
    policy: str = "restart"
    compensate_when: walk.CompensateWhen = walk.CompensateWhen.ALWAYS
    transactional: bool = False
    tombstone: bool = False
    mutant: str = ""


class Row(NamedTuple):
    """One row of saga_step_results. `live`: an attempt is on record whose end is not (deadline_at is set)."""

    status: str
    attempts: int = 0
    failed_attempts: int = 0
    in_doubt: int = 0
    recoveries: int = 0
    undo_attempts: int = 0
    undo_recoveries: int = 0
    has_completed: bool = False
    live: bool = False
    quarantined: bool = False
    fence: int = 0
    orders: int = 0  # a ghost: how many attempts operators gave it, one at a time or all of them again
    is_declared: bool = False  # a ghost: an operator skipped it


class View(NamedTuple):
    """What a holder knows: run and row as it read or wrote them last."""

    status: str
    idx: int
    row: Row
    cancel: bool
    late: bool
    on_hold: bool
    seq: int


class Worker(NamedTuple):
    """phase: idle, seen (read, not claimed), hold, in (acted inside execute), undone (inside compensate), probed (it has
    an answer), unknown (a move was sent and the line died), dead (not noticed yet).
    """

    phase: str = "idle"
    fence: int = 0
    view: View | None = None
    move: tuple[object, ...] = ()


class State(NamedTuple):
    status: str
    idx: int
    fence: int
    cancel: bool
    late: bool  # the run's deadline has passed
    waiting: str
    open: int  # the fence of the open episode, or 0
    seq: int  # counts only the moves of those without the fence; kept 0 unless a mutant compares it
    bells: int
    recovered: bool
    rows: tuple[Row, ...]
    workers: tuple[Worker, ...]
    flying: tuple[tuple[object, ...], ...]  # moves on a line that died: they land at any time, or never
    left: tuple[int, ...]  # crashes, takeovers, cancels, losses, yields, bells, deadlines, holds, retries
    effects: tuple[bool, ...]
    entered: tuple[int, ...]  # a bit for each attempt of each step
    tombs: tuple[bool, ...]
    held_at: int  # a ghost: the undo that ran when an operator said hold, or -1
    is_ordered_back: bool  # a ghost: an operator took it up again to be undone
    breach: str


CRASHES, TAKEOVERS, CANCELS, LOSSES, YIELDS, BELLS, DEADLINES, HOLDS, RETRIES = range(9)


def initial(config: Config) -> State:
    return State(
        status=PENDING,
        idx=0,
        fence=0,
        cancel=False,
        late=False,
        waiting="",
        open=0,
        seq=0,
        bells=1,
        recovered=False,
        rows=(),
        workers=(Worker(),) * config.workers,
        flying=(),
        left=(
            config.crashes,
            config.takeovers,
            config.cancels,
            config.losses,
            config.yields,
            config.bells,
            config.deadlines,
            config.holds,
            config.retries,
        ),
        effects=(False,) * config.steps,
        entered=(0,) * config.steps,
        tombs=(False,) * config.steps,
        held_at=-1,
        is_ordered_back=False,
        breach="",
    )


def put(items, at, item):
    return (*items[:at], item, *items[at + 1 :])


# -- decisions: the code's own ------------------------------------------------------------------------------------------


def tries_of(config: Config) -> int:
    """Attempts that may be made without a death. A transaction may also be lost by no fault of its step."""
    return config.max_attempts + walk.LOST_TRIES * config.transactional


@cache
def policy_of(config: Config) -> walk.StepPolicy:
    return walk.StepPolicy(
        name="s",
        in_doubt=config.in_doubt,
        tombstone=config.tombstone or config.mutant == "no_quarantine",
        compensate_when=config.compensate_when,
        transactional=config.transactional and config.mutant != "doubt_of_transaction_is_undone",
        retry=RetryPolicy(max_attempts=config.max_attempts, base=0.0),
        undo_retry=RetryPolicy(max_attempts=config.undo_attempts, base=0.0),
    )


def _row(row: Row, fence: int) -> walk.Row:
    return walk.Row(
        status=StepStatus(row.status),
        attempts=row.attempts,
        failed_attempts=row.failed_attempts,
        in_doubt=row.in_doubt,
        recoveries=row.recoveries,
        compensation_attempts=row.undo_attempts,
        compensation_recoveries=row.undo_recoveries,
        has_completed=row.has_completed,
        doubted_itself=False,  # no step of the model ends its own transaction
        begun_here=row.status == RUNNING and row.live and row.fence == fence,
        quarantine=float(row.quarantined),
    )


@cache
def decide(config: Config, view: View, fence: int, stopping: bool) -> walk.NextMove:
    position = walk.Position(
        status=RunStatus(view.status),
        idx=view.idx,
        row=_row(view.row, fence),
        max_recoveries=config.max_recoveries,
        cancel_requested=view.cancel,
        deadline_passed=view.late,
        on_hold=view.on_hold,
    )
    return walk.next_move(position, policy_of(config), stopping=stopping)


@cache
def after_failure(config: Config, row: Row, definite: bool, *, lost: bool = False) -> tuple[object, ...]:
    """`lost`: a transaction that was not committed by no fault of its step, which uses up no try."""
    definite = definite or config.mutant == "exception_is_definite"
    failed = walk.Failed(
        error={}, definite=definite or config.transactional, retryable=config.lists_declines or not definite
    )
    decide = walk.after_lost if lost else walk.after_execute
    decided = decide(_row(row, 0), failed, policy_of(config), draw=0.0)
    if isinstance(decided, walk.Retry):
        return ("retry", decided.doubted, decided.counts)
    return failing(config, decided)


@cache
def after_undo_failure(config: Config, row: Row) -> tuple[object, ...]:
    failed = walk.Failed(error={}, definite=False, retryable=True)
    decided = walk.after_undo(_row(row, 0), failed, policy_of(config), draw=0.0)
    if isinstance(decided, walk.Retry):
        return ("retry", decided.doubted, row.undo_attempts)
    return ("compensated", COMPENSATED if config.mutant == "failed_undo_is_done" else NOT_UNDONE, True)


@cache
def after_probe(row: Row, answer: ProbeAnswer) -> tuple[object, ...]:
    match walk.after_probe(_row(row, 0), answer):
        case walk.Advanced():
            return ("advance", True)
        case walk.Absent():
            return ("absent",)
        case walk.AskOperator():
            return ("park", "operator")
        case walk.Quarantine():
            return ("park", "quarantine")


def failing(config: Config, fail: walk.Fail) -> tuple[object, ...]:
    return ("fail", fail.undo_self and config.mutant != "undo_from_below", fail.doubted)
