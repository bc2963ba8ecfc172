"""The moves of the model: each returns the state after it, or None when its guards, those of `ledger/sql/`, refuse."""

from __future__ import annotations

from tests.model.protocol import (
    COMPENSATING,
    COMPLETED,
    FAILED,
    NOT_UNDONE,
    PENDING,
    ROLLED_BACK,
    RUNNING,
    TERMINAL,
    Config,
    Row,
    State,
    View,
    put,
)


def view_of(state: State) -> View:
    row = state.rows[state.idx]
    return View(state.status, state.idx, row, state.cancel, state.late, state.waiting == "hold", state.seq)


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


def claim(config: Config, state: State, seen: tuple[object, ...]) -> State | None:
    if (
        state.waiting in ("hold", "operator")
        or (state.fence, state.status, state.idx) != seen
        or state.open
        or state.status in TERMINAL
    ):
        return None
    if state.waiting == "quarantine" and state.rows[state.idx].quarantined:
        return None
    fence = state.fence + 1
    status = RUNNING if state.status == PENDING else state.status
    begins = status == RUNNING and not state.cancel and not state.late
    rows = state.rows if state.idx < len(state.rows) else (*state.rows, Row(PENDING))
    row = rows[state.idx]
    if row.status == PENDING:
        row = row._replace(status=RUNNING if begins else PENDING, attempts=row.attempts + begins, live=begins)
    elif row.status == RUNNING:
        row = row._replace(in_doubt=row.in_doubt + (row.live and not config.transactional), live=False)
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
    if name in ("advance", "begin", "fail", "retry", "absent") and row.attempts != view.row.attempts:
        return None
    after = MOVES[name](config, state, fence, row, move)
    if after is not None and (state.fence != fence):
        after = after._replace(breach="a move of a fenced worker landed: " + str(name))
    return after


def advance(config: Config, state: State, fence: int, row: Row, move: tuple[object, ...]) -> State | None:
    if row.status != RUNNING:
        return None
    row = row._replace(has_completed=True, live=False, fence=fence)
    if config.transactional:  # what it wrote is committed with its result
        twice = f"step {state.idx} happened twice" if state.effects[state.idx] else ""
        state = state._replace(effects=put(state.effects, state.idx, True), breach=state.breach or twice)
    if (state.cancel or state.late) and config.mutant != "completion_ignores_cancel":
        return turned(state, row, state.idx, fence=fence, live=True)
    rows = put(state.rows, state.idx, row._replace(status=COMPLETED))
    if config.mutant == "two_commits" and move[1] != "second":
        return state._replace(rows=rows)
    if state.idx == config.steps - 1:
        return state._replace(status=COMPLETED, rows=rows, open=0, waiting="")
    begin = move[1] is True and (state.waiting != "hold" or config.mutant == "advance_ignores_hold")
    following = Row(RUNNING if begin else PENDING, attempts=int(begin), live=begin, fence=fence)
    return state._replace(rows=(*rows, following), idx=state.idx + 1)


def begin(config: Config, state: State, fence: int, row: Row, move: tuple[object, ...]) -> State | None:
    if state.cancel or state.late or state.waiting or row.status not in (PENDING, RUNNING):
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
    if row.status == COMPENSATING and row.undo_attempts == move[2]:
        row = row._replace(undo_attempts=row.undo_attempts + 1, fence=fence)
        return state._replace(rows=put(state.rows, state.idx, row))
    if row.status != RUNNING:
        return None
    doubts = row.in_doubt + bool(move[1])
    failed = row.failed_attempts + bool(move[2])
    row = row._replace(status=PENDING, in_doubt=doubts, live=False, fence=fence, failed_attempts=failed)
    return state._replace(rows=put(state.rows, state.idx, row))


def compensated(config: Config, state: State, fence: int, row: Row, move: tuple[object, ...]) -> State | None:
    if row.status != COMPENSATING:
        return None
    tries = row.undo_attempts + bool(move[2])
    row = row._replace(status=str(move[1]), undo_attempts=tries, live=False, fence=fence)
    if row.status == NOT_UNDONE and config.halts:
        return state._replace(rows=put(state.rows, state.idx, row), waiting=state.waiting or "operator", open=0)
    return turned(state, row, undo_below(state.rows, state.idx), fence=fence, live=True)


def park(config: Config, state: State, fence: int, row: Row, move: tuple[object, ...]) -> State | None:
    rows = put(state.rows, state.idx, row._replace(live=False, fence=fence))
    return state._replace(waiting=state.waiting or str(move[1]), open=0, rows=rows)


def absent(config: Config, state: State, fence: int, row: Row, move: tuple[object, ...]) -> State | None:
    if row.status != RUNNING or row.live or row.quarantined:
        return None
    return state._replace(rows=put(state.rows, state.idx, row._replace(status=PENDING, in_doubt=0, fence=fence)))


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
    "absent": absent,
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
        bells=min(state.bells + 1, 2) if not state.waiting else state.bells,
    )
    if policy in ("restart", "hold"):
        waiting = "hold" if policy == "hold" else state.waiting
        return after._replace(rows=put(state.rows, state.idx, gone), waiting=waiting)
    doubts = row.in_doubt + (was_running and row.live)
    if policy == "fail":
        gone = gone._replace(status=FAILED if was_running else row.status, in_doubt=doubts, live=False)
        return after._replace(rows=put(state.rows, state.idx, gone), status=FAILED, waiting="")
    itself = (was_running or row.in_doubt > 0) and config.mutant != "undo_from_below"
    undo_idx = state.idx if itself else undo_below(state.rows, state.idx)
    gone = gone._replace(
        status=FAILED if row.attempts > 0 else row.status,
        in_doubt=doubts,
        live=False,
    )
    return turned(after, gone, undo_idx, fence=0, live=False)


def cancel(state: State) -> State | None:
    """The answer is an acceptance whenever this is not None."""
    if state.status not in (PENDING, RUNNING) or state.cancel:
        return None
    state = state._replace(cancel=True)
    if state.open or state.waiting in ("hold", "operator"):
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
