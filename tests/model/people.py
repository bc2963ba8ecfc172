"""What operators may do in a state of the model, as `sagaworker/engine/operators.py` chooses the moves of `ledger/sql/`.

They tell the truth: a step that happened has its effect, one that did not has none. When it comes to nothing else, a
person releases, skips or answers, so these are free; holds and retries are as many as the configuration says.
"""

from __future__ import annotations

from collections.abc import Iterator

from sagaworker.domain.walk import InDoubt
from tests.model.moves import turned, undo_below
from tests.model.protocol import (
    COMPENSATING,
    COMPLETED,
    FAILED,
    HOLDS,
    NOT_UNDONE,
    PENDING,
    RETRIES,
    ROLLED_BACK,
    RUNNING,
    SKIPPED,
    TERMINAL,
    Config,
    Row,
    State,
    put,
    tries_of,
)


def orders(config: Config, state: State) -> Iterator[tuple[str, State]]:
    """Every order that would not be refused, and what it leads to.

    An order locks the saga row, so it waits for a cold move whose COMMIT is on its way: what of these was not committed
    by then never is. Advance alone is one statement without that lock, and may land later.
    """
    flying = tuple(move for move in state.flying if move[2][0] == "advance")  # type: ignore[index] # moves nest
    for action, after in _orders(config, state):
        yield action, after._replace(flying=flying)


def _orders(config: Config, state: State) -> Iterator[tuple[str, State]]:
    if state.waiting == "hold":
        released = state._replace(waiting="", held_at=-1)
        has_halted = state.idx < len(state.rows) and state.rows[state.idx].status == NOT_UNDONE
        yield "release", released._replace(waiting="operator") if has_halted else _rung(released)
    elif state.left[HOLDS] and state.status not in TERMINAL and state.waiting in ("", "quarantine"):
        held_at = state.idx if state.status == COMPENSATING else -1
        yield "hold", _spend(state._replace(waiting="hold", held_at=held_at), HOLDS)
    if state.status == FAILED and state.left[RETRIES]:
        yield "reopen", _spend(_reopened(config, state, undo=False), RETRIES)
        if all(row.status != NOT_UNDONE for row in state.rows):
            yield "reopen to undo", _spend(_reopened(config, state, undo=True), RETRIES)
    if state.waiting != "operator":
        return
    row = state.rows[state.idx]
    if state.status == COMPENSATING and row.status == NOT_UNDONE:
        skipped = row._replace(status=SKIPPED, is_declared=True)
        yield "skip undo", _rung(_turned(state, skipped))
        if state.left[RETRIES]:
            again = row._replace(status=COMPENSATING, undo_attempts=0, undo_recoveries=0, live=False)
            yield "retry undo", _spend(_moved(state, again), RETRIES)
    elif state.status == RUNNING and row.status == RUNNING and not row.live:
        yield from _of_doubt(config, state, row)


def _of_doubt(config: Config, state: State, row: Row) -> Iterator[tuple[str, State]]:
    skipped = row._replace(status=SKIPPED, is_declared=True)
    if config.mutant == "skip_undoes_nothing":
        yield "skip step", turned(state, skipped, None, fence=0, live=False)
    yield "skip step", _rung(_turned(state, skipped))
    if state.left[RETRIES]:
        begin_again = config.in_doubt is not InDoubt.PROBE
        again = row._replace(status=PENDING if begin_again else RUNNING, orders=row.orders + 1)
        yield "retry step", _spend(_moved(state, again), RETRIES)
    if state.effects[state.idx]:
        yield "it happened", _rung(_happened(config, state, row._replace(has_completed=True)))
    elif not row.quarantined or config.mutant == "absent_in_quarantine":
        yield "it did not happen", _moved(state, row._replace(status=PENDING, in_doubt=0))


def _turned(state: State, own: Row) -> State:
    return turned(state._replace(waiting=""), own, undo_below(state.rows, state.idx), fence=0, live=False)


def _happened(config: Config, state: State, row: Row) -> State:
    state = state._replace(waiting="")
    if (state.cancel or state.late) and config.mutant != "answer_ignores_cancel":
        return turned(state, row, state.idx, fence=0, live=False)
    rows = put(state.rows, state.idx, row._replace(status=COMPLETED))
    if state.idx == config.steps - 1:
        return state._replace(status=COMPLETED, rows=rows)
    return state._replace(idx=state.idx + 1, rows=(*rows, Row(PENDING, fence=row.fence)))


def _reopened(config: Config, state: State, *, undo: bool) -> State:
    row = state.rows[state.idx]
    failed = [i for i, one in enumerate(state.rows) if one.status == NOT_UNDONE]
    goes_back = bool(failed) or undo or state.cancel
    undo_idx = None
    if failed:
        undo_idx = failed[-1]
    elif goes_back:
        itself = row.in_doubt > 0 and row.status in (PENDING, FAILED)
        undo_idx = state.idx if itself else undo_below(state.rows, state.idx)
    rows = tuple(_repaired(one) if one.status == NOT_UNDONE else one for one in state.rows)
    state = _rung(state._replace(rows=rows, is_ordered_back=undo))
    if undo_idx is not None:
        undone = rows[undo_idx]._replace(status=COMPENSATING, live=False)
        return state._replace(status=COMPENSATING, idx=undo_idx, rows=put(rows, undo_idx, undone))
    if goes_back and config.mutant != "reopened_to_undo_goes_on":
        own = row._replace(status=FAILED if row.attempts else row.status, live=False)
        return state._replace(status=ROLLED_BACK, rows=put(rows, state.idx, own), bells=0)
    begin_again = undo or config.in_doubt is not InDoubt.PROBE or not row.in_doubt
    status = PENDING if begin_again else RUNNING
    again = row._replace(status=status, failed_attempts=0, live=False, orders=row.orders + tries_of(config))
    return state._replace(status=RUNNING, rows=put(rows, state.idx, again))


def _repaired(row: Row) -> Row:
    status = COMPLETED if row.has_completed else FAILED
    return row._replace(status=status, undo_attempts=0, undo_recoveries=0, live=False)


def _moved(state: State, row: Row) -> State:
    return _rung(state._replace(waiting="", rows=put(state.rows, state.idx, row)))


def _rung(state: State) -> State:
    return state._replace(bells=min(state.bells + 1, 2)) if state.status not in TERMINAL else state


def _spend(state: State, what: int) -> State:
    return state._replace(left=put(state.left, what, state.left[what] - 1))
