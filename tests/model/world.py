"""What may happen next in a state of the model: every action of the workers and of the world around them."""

from __future__ import annotations

from collections.abc import Iterator

from sagaworker.domain import walk
from sagaworker.domain.state import ProbeAnswer
from tests.model import people
from tests.model.moves import apply, cancel, claim, take_over, view_of
from tests.model.protocol import (
    BELLS,
    CANCELS,
    COMPENSATED,
    COMPLETED,
    CRASHES,
    DEADLINES,
    LOSSES,
    NOT_UNDONE,
    PENDING,
    RUNNING,
    SKIPPED,
    TAKEOVERS,
    TERMINAL,
    YIELDS,
    Config,
    State,
    View,
    Worker,
    after_failure,
    after_probe,
    after_undo_failure,
    decide,
    failing,
    put,
)


def successors(config: Config, state: State) -> Iterator[tuple[str, State]]:
    yield from _surroundings(config, state)
    yield from people.orders(config, state)
    for n, worker in enumerate(state.workers):
        # Two idle workers are alike.
        if worker.phase == "idle" and n and state.workers[n - 1].phase == "idle":
            continue
        for action, after in _working(config, state, n, worker):
            yield f"{action} by {worker.fence or 'a newcomer'}", after


def _spend(state: State, what: int) -> State:
    return state._replace(left=put(state.left, what, state.left[what] - 1))


def _surroundings(config: Config, state: State) -> Iterator[tuple[str, State]]:  # noqa: C901 - one branch for each event
    is_due = not state.waiting or (state.waiting == "quarantine" and not state.rows[state.idx].quarantined)
    if state.bells and state.left[BELLS]:
        yield "bell lost", _spend(state._replace(bells=state.bells - 1), BELLS)
        yield "bell doubled", _spend(state._replace(bells=2), BELLS)
    if not state.bells and not state.open and is_due and state.status not in TERMINAL and config.mutant != "no_rering":
        yield "rung again", state._replace(bells=1)
    if state.left[CANCELS] and (after := cancel(state)) is not None:
        seq = state.seq + (config.mutant == "seq_in_guard")
        yield "cancel", _spend(after._replace(seq=seq), CANCELS)
    if state.left[DEADLINES] and state.status not in TERMINAL:
        yield "deadline of the run", _spend(state._replace(late=True), DEADLINES)
    # The lease of a dead holder runs out some day; that of a living one may, as often as the configuration says.
    holder_is_alive = any(w.fence == state.open and w.phase not in ("idle", "seen", "dead") for w in state.workers)
    if state.open and (state.left[TAKEOVERS] or not holder_is_alive):
        after = take_over(config, state, witnessed=False)
        if after is not None:
            yield "lease expired", _spend(after, TAKEOVERS) if holder_is_alive else after
    for i, row in enumerate(state.rows):
        if row.quarantined:
            yield f"quarantine of {i} over", _hard_end(state, i)
    for move in state.flying:
        rest = tuple(other for other in state.flying if other is not move)
        yield "lost for ever", state._replace(flying=rest)
        after = apply(config, state, move[0], move[1], move[2])
        if after is not None:
            yield "landed late", after._replace(flying=rest)


def _hard_end(state: State, idx: int) -> State:
    """Past deadline and grace no process lives on in an attempt of that row which was given up."""
    workers = tuple(
        Worker() if w.phase in ("hold", "in", "probed") and w.view.idx == idx and w.fence != state.fence else w
        for w in state.workers
    )
    return state._replace(workers=workers, rows=put(state.rows, idx, state.rows[idx]._replace(quarantined=False)))


def _working(  # noqa: C901, PLR0912 - one branch for each phase
    config: Config, state: State, n: int, worker: Worker
) -> Iterator[tuple[str, State]]:
    def to(after: State, worker: Worker) -> State:
        return after._replace(workers=put(after.workers, n, worker))

    if worker.phase == "idle":
        if state.bells:
            seen = (state.fence, state.status, state.idx)
            rung = state._replace(bells=state.bells - 1)
            yield "read", to(rung, Worker("seen", move=seen)) if state.status not in TERMINAL else rung
        return
    if worker.phase == "seen":
        after = claim(config, state, worker.move)
        if after is None:
            yield "refused", to(state, Worker())
        else:
            yield "claimed", to(after, Worker("hold", after.fence, view_of(after)))
        return
    if worker.phase == "dead":
        if state.open == worker.fence and (after := take_over(config, state, witnessed=True)) is not None:
            yield "witnessed", to(after, Worker())
        if state.fence != worker.fence or state.open != worker.fence:
            yield "forgotten", to(state, Worker())
        return
    if state.left[CRASHES]:
        yield "crash", _spend(to(state, Worker("dead", worker.fence)), CRASHES)
    if worker.phase == "unknown":
        yield from _resolved(config, state, n, worker)
        return
    for action, after, move in _acting(config, state, n, worker):
        if move is None:
            yield action, after
        else:
            yield from ((f"{action}, {how}", end) for how, end in _sent(config, after, n, move))


def _acting(config, state, n, worker):  # noqa: C901, PLR0912, PLR0915 - one branch for each decision
    """(action, state, the move to send or None)"""
    view, fence = worker.view, worker.fence
    if worker.phase == "in":
        yield "returned", state, ("advance", True)
        if config.failures:
            yield "raised", state, after_failure(config, view.row, False)
        return
    if worker.phase == "undone":
        yield "undid", state, ("compensated", COMPENSATED, True)
        if config.undo_fails and config.undo_attempts > 1:
            yield "raised after its undo", state, after_undo_failure(config, view.row)
        return
    if worker.phase == "probed":
        yield "answered", state, worker.move
        return
    if state.left[YIELDS]:
        begun = view.row.status == RUNNING and view.row.live and view.row.fence == fence
        yield "stopping", _spend(state, YIELDS), ("yield", begun)
    if config.mutant == "no_write_ahead" and view.status == RUNNING and view.row.status == PENDING:
        decided: walk.NextMove = walk.Execute()
        view = view._replace(row=view.row._replace(attempts=view.row.attempts + 1))
    else:
        decided = decide(config, view, fence, False)
    match decided:
        case walk.Execute():
            entered = _entered(config, state, view)
            acted = _acted(config, entered, view.idx)
            yield "entered", acted._replace(workers=put(acted.workers, n, worker._replace(phase="in"))), None
            if config.failures:
                yield "declined", entered, after_failure(config, view.row, True)
                yield "raised early", entered, after_failure(config, view.row, False)
        case walk.Compensate():
            undone = _undone(config, _meets_hold(state, worker), view.idx)
            yield "undoing", undone._replace(workers=put(undone.workers, n, worker._replace(phase="undone"))), None
            if config.undo_fails:
                yield "undo failed", state, after_undo_failure(config, view.row)
        case walk.Begin():
            yield "begin", state, ("begin",)
        case walk.Fail():
            yield "fail", state, failing(config, decided)
        case walk.RecordUndo():
            yield "record", state, ("compensated", str(decided.result), False)
        case walk.Probe():
            found = ProbeAnswer.COMPLETED if state.effects[view.idx] else ProbeAnswer.ABSENT
            for answer in (found, ProbeAnswer.UNKNOWN):
                probed = worker._replace(phase="probed", move=after_probe(view.row, answer))
                yield f"probe says {answer}", state._replace(workers=put(state.workers, n, probed)), None
        case walk.AskOperator():
            yield "ask", state, ("park", "operator")
        case walk.LetGo():
            begun = view.row.status == RUNNING and view.row.live and view.row.fence == fence
            yield "let go", state, ("yield", begun)
        case walk.Quarantine():
            yield "park", state, ("park", "quarantine")
        case _:
            raise AssertionError(f"the model has no {decided}")


def _entered(config: Config, state: State, view: View) -> State:
    """An execute is entered: at most once an attempt, and only when that is on record."""
    bit = 1 << view.row.attempts
    breach = ""
    if state.entered[view.idx] & bit:
        breach = f"attempt {view.row.attempts} of step {view.idx} was entered twice"
    elif state.rows[view.idx].attempts < view.row.attempts and state.fence == state.open:
        breach = f"attempt {view.row.attempts} of step {view.idx} was entered and is not on record"
    return state._replace(
        entered=put(state.entered, view.idx, state.entered[view.idx] | bit), breach=state.breach or breach
    )


def _meets_hold(state: State, worker: Worker) -> State:
    """Of a saga on hold no undo is entered but the one that ran when it was said."""
    if state.waiting == "hold" and state.open == worker.fence and state.held_at not in (-1, worker.view.idx):
        return state._replace(breach=state.breach or f"the undo of {worker.view.idx} was entered on hold")
    return state


def _acted(config: Config, state: State, idx: int) -> State:
    if config.transactional or (config.tombstone and state.tombs[idx]):
        return state
    breach = state.breach
    if not all(state.effects[:idx]) and state.rows[idx].status != SKIPPED:
        breach = breach or f"step {idx} acted while a lower one has no effect"
    return state._replace(effects=put(state.effects, idx, True), breach=breach)


def _undone(config: Config, state: State, idx: int) -> State:
    left = (NOT_UNDONE, SKIPPED)
    above = [i for i in range(idx + 1, len(state.rows)) if state.effects[i] and state.rows[i].status not in left]
    breach = f"step {idx} is undone and step {above[0]} is not" if above else ""
    return state._replace(
        effects=put(state.effects, idx, False),
        tombs=put(state.tombs, idx, config.tombstone),
        breach=state.breach or breach,
    )


def _sent(config: Config, state: State, n: int, move: tuple[object, ...]) -> Iterator[tuple[str, State]]:
    """One fenced move: it lands or is refused and its sender knows, or the line dies and nobody knows."""
    worker = state.workers[n]
    after = apply(config, state, worker.fence, worker.view, move)
    if state.left[LOSSES]:
        lost = _spend(state, LOSSES)
        unknown = worker._replace(phase="unknown", move=move)
        lost = lost._replace(workers=put(lost.workers, n, unknown))
        # What is inside a step's transaction cannot land once its line is dead: COMMIT was never sent.
        flies = () if config.transactional and move[0] == "advance" else ((worker.fence, worker.view, move),)
        yield "no acknowledgement", lost._replace(flying=(*lost.flying, *flies))
        if after is not None:
            landed = _spend(after, LOSSES)
            yield "acknowledgement lost", landed._replace(workers=put(landed.workers, n, unknown))
    if after is None:
        yield "refused", _refused(config, state, n, move)
    elif config.mutant == "two_commits" and move[0] == "advance" and after.rows[after.idx].status == COMPLETED:
        yield "first commit", after._replace(workers=put(after.workers, n, Worker("dead", worker.fence)))
    else:
        yield "landed", _known(after, n)


def _known(state: State, n: int) -> State:
    """The worker goes on from what it just wrote or read, or is done."""
    worker = state.workers[n]
    if state.open != worker.fence:
        return state._replace(workers=put(state.workers, n, Worker()))
    return state._replace(workers=put(state.workers, n, Worker("hold", worker.fence, view_of(state))))


def _refused(config: Config, state: State, n: int, move: tuple[object, ...]) -> State:
    """No row came back: Claim._move reads, and knows whether it landed before, met a cancel, or was fenced."""
    worker = state.workers[n]
    if state.fence == worker.fence and (
        _signature(state) != _expected(worker)
        or (move[0] == "begin" and (state.cancel or state.late or state.waiting == "hold"))
    ):
        return _known(state, n)
    gone = state._replace(workers=put(state.workers, n, Worker()))
    if state.fence == worker.fence and state.open == worker.fence:
        return gone._replace(breach=state.breach or "the rightful holder was refused: " + str(move[0]))
    return gone


def _signature(state: State) -> tuple[object, ...]:
    row = state.rows[state.idx]
    return (state.status, state.idx, row.status, row.attempts, row.undo_attempts, bool(state.open))


def _expected(worker: Worker) -> tuple[object, ...]:
    view = worker.view
    return (view.status, view.idx, view.row.status, view.row.attempts, view.row.undo_attempts, True)


def _resolved(config: Config, state: State, n: int, worker: Worker) -> Iterator[tuple[str, State]]:
    """Read run and row together; as before means: send again."""
    if state.fence != worker.fence:
        yield "fenced", state._replace(workers=put(state.workers, n, Worker()))
    elif _signature(state) != _expected(worker):
        yield "had landed", _known(state, n)
    elif config.mutant == "lost_ack_is_failure" and worker.move[0] == "advance":
        yield from _sent(config, state, n, ("fail", False, False))
    elif config.transactional and worker.move[0] == "advance":
        yield from _sent(config, state, n, after_failure(config, worker.view.row, True, lost=True))
    else:
        yield from _sent(config, state, n, worker.move)
