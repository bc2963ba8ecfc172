"""The protocol's core as an explicit-state model: one saga, a few workers, and everything that may befall them.

A state is one tuple; `world.successors` gives every state that one action leads to. What a holder does is decided by
`sagaworker.domain.walk` itself, so the model moves with the code; the moves below restate the guards of `ledger/sql/`.
Effects are ghosts: they are in the world, not in the ledger, and a worker that lost its saga may still bring them about.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from sagaworker.domain import walk
from sagaworker.domain.retry import RetryPolicy
from sagaworker.domain.status import RunStatus, StepStatus

PENDING, RUNNING, COMPENSATING = RunStatus.PENDING.value, RunStatus.RUNNING.value, RunStatus.COMPENSATING.value
COMPLETED, ROLLED_BACK, FAILED = RunStatus.COMPLETED.value, RunStatus.ROLLED_BACK.value, RunStatus.FAILED.value
TERMINAL = (COMPLETED, ROLLED_BACK, FAILED)
COMPENSATED, NOT_UNDONE = StepStatus.COMPENSATED.value, StepStatus.COMPENSATION_FAILED.value

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
    max_attempts: int = 1
    max_recoveries: int = 1
    in_doubt: walk.InDoubt = walk.InDoubt.RETRY
    policy: str = "restart"
    tombstone: bool = False
    mutant: str = ""


class Row(NamedTuple):
    """One row of saga_step_results. `live`: an attempt is on record whose end is not (deadline_at is set)."""

    status: str
    attempts: int = 0
    in_doubt: int = 0
    recoveries: int = 0
    undo_attempts: int = 0
    undo_recoveries: int = 0
    has_completed: bool = False
    live: bool = False
    quarantined: bool = False
    fence: int = 0
    retried: int = 0  # a ghost: failed attempts after which the step was tried again


class View(NamedTuple):
    """What a holder knows: run and row as it read or wrote them last."""

    status: str
    idx: int
    row: Row
    cancel: bool
    seq: int


class Worker(NamedTuple):
    """phase: idle, seen (read, not claimed), hold, in (acted inside execute), undone (inside compensate), unknown (a
    move was sent and the line died), dead (not noticed yet).
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
    waiting: str
    open: int  # the fence of the open episode, or 0
    seq: int  # counts only the moves of those without the fence; kept 0 unless a mutant compares it
    bells: int
    recovered: bool
    rows: tuple[Row, ...]
    workers: tuple[Worker, ...]
    flying: tuple[tuple[object, ...], ...]  # moves on a line that died: they land at any time, or never
    left: tuple[int, ...]  # crashes, takeovers, cancels, losses, yields, bells
    effects: tuple[bool, ...]
    entered: tuple[int, ...]  # a bit for each attempt of each step
    tombs: tuple[bool, ...]
    breach: str


CRASHES, TAKEOVERS, CANCELS, LOSSES, YIELDS, BELLS = range(6)


def initial(config: Config) -> State:
    return State(
        status=PENDING,
        idx=0,
        fence=0,
        cancel=False,
        waiting="",
        open=0,
        seq=0,
        bells=1,
        recovered=False,
        rows=(),
        workers=(Worker(),) * config.workers,
        flying=(),
        left=(config.crashes, config.takeovers, config.cancels, config.losses, config.yields, config.bells),
        effects=(False,) * config.steps,
        entered=(0,) * config.steps,
        tombs=(False,) * config.steps,
        breach="",
    )


def put(items, at, item):
    return (*items[:at], item, *items[at + 1 :])


# -- decisions: the code's own ------------------------------------------------------------------------------------------


@cache
def policy_of(config: Config) -> walk.StepPolicy:
    return walk.StepPolicy(
        name="s",
        in_doubt=config.in_doubt,
        tombstone=config.tombstone or config.mutant == "no_quarantine",
        retry=RetryPolicy(max_attempts=config.max_attempts, base=0.0),
        undo_retry=RetryPolicy(max_attempts=1),
    )


def _row(row: Row, fence: int) -> walk.Row:
    return walk.Row(
        status=StepStatus(row.status),
        attempts=row.attempts,
        in_doubt=row.in_doubt,
        recoveries=row.recoveries,
        compensation_attempts=row.undo_attempts,
        compensation_recoveries=row.undo_recoveries,
        has_completed=row.has_completed,
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
    )
    return walk.next_move(position, policy_of(config), stopping=stopping)


@cache
def after_failure(config: Config, row: Row, definite: bool) -> tuple[object, ...]:
    definite = definite or config.mutant == "exception_is_definite"
    failed = walk.Failed(error={}, definite=definite, retryable=not definite)
    decided = walk.after_execute(_row(row, 0), failed, policy_of(config), draw=0.0)
    if isinstance(decided, walk.Retry):
        return ("retry", decided.doubted)
    return failing(config, decided)


def failing(config: Config, fail: walk.Fail) -> tuple[object, ...]:
    return ("fail", fail.undo_self and config.mutant != "undo_from_below", fail.doubted)


# -- moves: each returns the state after it, or None when its guards refuse ---------------------------------------------


def view_of(state: State) -> View:
    return View(state.status, state.idx, state.rows[state.idx], state.cancel, state.seq)


def undo_below(rows: tuple[Row, ...], idx: int) -> int | None:
    found = [
        i
        for i, row in enumerate(rows[:idx])
        if row.status == COMPLETED or (row.in_doubt > 0 and row.status in (PENDING, RUNNING, FAILED))
    ]
    return found[-1] if found else None


def turned(state: State, own: Row, undo_idx: int | None, *, fence: int, live: bool) -> State:
    """Rows and cursor as the saga goes on undoing at `undo_idx`, or ends."""
    rows = put(state.rows, state.idx, own)
    if undo_idx is None:
        failed = any(row.status == NOT_UNDONE for row in rows)
        return state._replace(status=FAILED if failed else ROLLED_BACK, rows=rows, open=0, waiting="")
    row = rows[undo_idx]._replace(status=COMPENSATING, live=live)
    row = row._replace(fence=fence) if fence else row
    return state._replace(status=COMPENSATING, idx=undo_idx, rows=put(rows, undo_idx, row))


def claim(state: State, seen: tuple[object, ...]) -> State | None:
    if (state.fence, state.status, state.idx) != seen or state.open or state.status in TERMINAL:
        return None
    if state.waiting == "quarantine" and state.rows[state.idx].quarantined:
        return None
    fence = state.fence + 1
    status = RUNNING if state.status == PENDING else state.status
    begins = status == RUNNING and not state.cancel
    rows = state.rows if state.idx < len(state.rows) else (*state.rows, Row(PENDING))
    row = rows[state.idx]
    if row.status == PENDING:
        row = row._replace(status=RUNNING if begins else PENDING, attempts=row.attempts + begins, live=begins)
    elif row.status == RUNNING:
        row = row._replace(in_doubt=row.in_doubt + row.live, live=False)
    else:
        row = row._replace(live=True)
    rows = put(rows, state.idx, row._replace(fence=fence))
    return state._replace(status=status, fence=fence, open=fence, waiting="", rows=rows)


def apply(config: Config, state: State, fence: int, view: View, move: tuple[object, ...]) -> State | None:
    """Send one fenced move. `view` is what its guards expect."""
    name = move[0]
    if config.mutant != "no_fence":
        if state.fence != fence or (state.open != fence and name != "advance"):
            return None
        if config.mutant == "seq_in_guard" and state.seq != view.seq:
            return None
    if state.status != view.status or (name != "yield" and state.idx != view.idx):
        return None
    row = state.rows[state.idx]
    if name in ("advance", "begin", "fail", "retry") and row.attempts != view.row.attempts:
        return None
    after = MOVES[name](config, state, fence, row, move)
    if after is not None and (state.fence != fence):
        after = after._replace(breach="a move of a fenced worker landed: " + str(name))
    return after


def advance(config: Config, state: State, fence: int, row: Row, move: tuple[object, ...]) -> State | None:
    if row.status != RUNNING:
        return None
    row = row._replace(has_completed=True, live=False, fence=fence)
    if state.cancel and config.mutant != "completion_ignores_cancel":
        return turned(state, row, state.idx, fence=fence, live=True)
    rows = put(state.rows, state.idx, row._replace(status=COMPLETED))
    if config.mutant == "two_commits" and move[1] != "second":
        return state._replace(rows=rows)
    if state.idx == config.steps - 1:
        return state._replace(status=COMPLETED, rows=rows, open=0, waiting="")
    begin = move[1] is True
    following = Row(RUNNING if begin else PENDING, attempts=int(begin), live=begin, fence=fence)
    return state._replace(rows=(*rows, following), idx=state.idx + 1)


def begin(config: Config, state: State, fence: int, row: Row, move: tuple[object, ...]) -> State | None:
    if state.cancel or row.status not in (PENDING, RUNNING):
        return None
    doubts = 0 if config.mutant == "doubt_not_sticky" else row.in_doubt
    row = row._replace(status=RUNNING, attempts=row.attempts + 1, live=True, fence=fence, in_doubt=doubts)
    return state._replace(rows=put(state.rows, state.idx, row))


def fail(config: Config, state: State, fence: int, row: Row, move: tuple[object, ...]) -> State | None:
    _, undo_self, doubted = move
    if row.status not in (PENDING, RUNNING):
        return None
    undo_idx = state.idx if undo_self else undo_below(state.rows, state.idx)
    row = row._replace(
        status=FAILED if row.attempts > 0 else row.status,
        in_doubt=row.in_doubt + bool(doubted),
        live=False,
        fence=fence,
    )
    return turned(state, row, undo_idx, fence=fence, live=True)


def retry(config: Config, state: State, fence: int, row: Row, move: tuple[object, ...]) -> State | None:
    if row.status != RUNNING:
        return None
    doubts = row.in_doubt + bool(move[1])
    row = row._replace(status=PENDING, in_doubt=doubts, live=False, fence=fence, retried=row.retried + 1)
    return state._replace(rows=put(state.rows, state.idx, row))


def compensated(config: Config, state: State, fence: int, row: Row, move: tuple[object, ...]) -> State | None:
    if row.status != COMPENSATING:
        return None
    row = row._replace(status=str(move[1]), undo_attempts=row.undo_attempts + 1, live=False, fence=fence)
    return turned(state, row, undo_below(state.rows, state.idx), fence=fence, live=True)


def park(config: Config, state: State, fence: int, row: Row, move: tuple[object, ...]) -> State | None:
    rows = put(state.rows, state.idx, row._replace(live=False, fence=fence))
    return state._replace(waiting=str(move[1]), open=0, rows=rows)


def yield_(config: Config, state: State, fence: int, row: Row, move: tuple[object, ...]) -> State | None:
    taken_back = bool(move[1]) and row.status == RUNNING and config.mutant != "polite_stop_is_doubt"
    if config.mutant != "polite_stop_is_doubt":
        row = row._replace(live=False)
    row = row._replace(status=PENDING if taken_back else row.status, attempts=row.attempts - taken_back, fence=fence)
    return state._replace(rows=put(state.rows, state.idx, row), open=0, bells=min(state.bells + 1, 2))


MOVES = {
    "advance": advance,
    "begin": begin,
    "fail": fail,
    "retry": retry,
    "compensated": compensated,
    "park": park,
    "yield": yield_,
}


def take_over(config: Config, state: State, *, witnessed: bool) -> State | None:
    if not state.open or state.status not in (RUNNING, COMPENSATING):
        return None
    if config.mutant == "one_shot_claim" and state.recovered:
        return None
    row = state.rows[state.idx]
    unproven = config.mutant == "witness_without_fence_or_count" and witnessed
    counts = not unproven and config.mutant != "recoveries_uncounted"
    policy = "restart" if state.status == COMPENSATING else config.policy
    was_running = row.status == RUNNING
    gone = row._replace(
        recoveries=row.recoveries + (was_running and counts),
        undo_recoveries=row.undo_recoveries + (row.status == COMPENSATING and counts),
        quarantined=row.quarantined or (was_running and row.live and not witnessed),
    )
    after = state._replace(
        fence=state.fence + (not unproven),
        open=0,
        recovered=config.mutant == "one_shot_claim",
        bells=min(state.bells + 1, 2),
    )
    if policy == "restart":
        return after._replace(rows=put(state.rows, state.idx, gone))
    itself = (was_running or row.in_doubt > 0) and config.mutant != "undo_from_below"
    undo_idx = state.idx if itself else undo_below(state.rows, state.idx)
    gone = gone._replace(
        status=FAILED if row.attempts > 0 else row.status,
        in_doubt=row.in_doubt + (was_running and row.live),
        live=False,
    )
    return turned(after, gone, undo_idx, fence=0, live=False)


def cancel(state: State) -> State | None:
    """The answer is an acceptance whenever this is not None."""
    if state.status not in (PENDING, RUNNING) or state.cancel:
        return None
    state = state._replace(cancel=True)
    if state.open:
        return state
    if state.idx >= len(state.rows):
        return state._replace(status=ROLLED_BACK)
    row = state.rows[state.idx]
    itself = row.attempts > 0 and (row.status == RUNNING or row.in_doubt > 0)
    own = row._replace(
        status=FAILED if row.attempts > 0 else row.status,
        in_doubt=row.in_doubt + (row.status == RUNNING and row.live),
        live=False,
    )
    undo_idx = state.idx if itself else undo_below(state.rows, state.idx)
    after = turned(state._replace(waiting=""), own, undo_idx, fence=0, live=False)
    return after._replace(bells=min(after.bells + 1, 2))
