"""Explore a configuration of the model exhaustively, breadth first, so that the first breach found is a shortest one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from tests.model.protocol import (
    COMPENSATED,
    COMPENSATING,
    COMPLETED,
    FAILED,
    NOT_UNDONE,
    PENDING,
    ROLLED_BACK,
    RUNNING,
    SKIPPED,
    TERMINAL,
    Config,
    State,
    Worker,
    initial,
    tries_of,
)
from tests.model.world import successors


@dataclass(frozen=True)
class Explored:
    """`breach` is empty for a sound protocol; `path` are the actions that lead to it."""

    states: int
    breach: str
    path: tuple[str, ...]


def breach_of(config: Config, state: State) -> str:
    """What is wrong in one state; empty when nothing is. G2 to G7 of the protocol, as far as they are in the model."""
    return state.breach or next(_run_breaches(config, state), "") or next(_row_breaches(config, state), "")


def breach_between(state: State, after: State, action: str) -> str:
    """What is wrong in one move: what is over moves on, or something begins that a person forbade."""
    if state.status in TERMINAL:
        is_same = (state.status, state.idx, state.rows) == (after.status, after.idx, after.rows)
        if not is_same and not action.startswith("quarantine") and (state.status != FAILED or "reopen" not in action):
            return f"a saga that was {state.status} changed"
    if (state.waiting == "hold" or state.is_ordered_back) and begun(after) > begun(state):
        return "a step was begun on hold" if state.waiting == "hold" else "a step was begun and undoing was ordered"
    return ""


def begun(state: State) -> int:
    return sum(row.attempts for row in state.rows)


def _run_breaches(config: Config, state: State) -> Iterator[str]:  # noqa: C901 - one branch for each promise
    rows = state.rows
    if state.status == COMPLETED:
        if state.cancel:
            yield "a cancel was accepted and the saga completed"
        if state.late:
            yield "the run's deadline passed and the saga completed"
        if not all(state.effects) or any(row.status != COMPLETED for row in rows):
            yield "the saga completed and an effect is missing"
    if state.status == ROLLED_BACK:
        if any(effect and row.status != SKIPPED for effect, row in zip(state.effects, rows, strict=False)):
            yield f"the saga is rolled_back and the effects {state.effects} are left"
        if any(row.status not in (COMPENSATED, SKIPPED) and (row.has_completed or row.in_doubt) for row in rows):
            yield "the saga is rolled_back and a completed or doubted row was not undone"
    if state.status == FAILED and config.policy != "fail" and all(row.status != NOT_UNDONE for row in rows):
        yield "the saga failed and no undo did"
    if state.status in TERMINAL and state.open:
        yield "the saga is terminal and an episode is open"
    if state.waiting == "operator" and state.open:
        yield "a saga that waits for a person is held"


def _row_breaches(config: Config, state: State) -> Iterator[str]:  # noqa: C901 - one branch for each promise
    for idx, row in enumerate(state.rows):
        if state.status == RUNNING and (row.status in (PENDING, RUNNING)) != (idx == state.idx):
            yield f"the saga runs at {state.idx} and row {idx} is {row.status}"
        has_halted = config.halts and state.waiting in ("operator", "hold") and row.status == NOT_UNDONE
        if (row.status == COMPENSATING) != (state.status == COMPENSATING and idx == state.idx and not has_halted):
            yield f"the saga is {state.status} at {state.idx} and row {idx} is {row.status}"
        if state.status == COMPENSATING and idx > state.idx and row.status == COMPLETED:
            yield f"row {idx} is completed above the one that is being undone"
        tries = tries_of(config) + row.orders
        if row.attempts > tries + min(row.recoveries, config.max_recoveries):
            yield f"row {idx} has {row.attempts} attempts and {row.recoveries} recoveries"
        if row.failed_attempts >= config.max_attempts:
            yield f"row {idx} was tried again {row.failed_attempts} times after a failure"
        if row.in_doubt > row.attempts or row.in_doubt > state.entered[idx].bit_count() + row.recoveries:
            yield f"row {idx} has {row.in_doubt} doubts, nobody died in it and it was not entered"
        if row.fence > state.fence:
            yield f"row {idx} has a fence above the run's"
        if row.undo_attempts > config.undo_attempts:
            yield f"the undo of row {idx} was tried {row.undo_attempts} times"
        if row.status == SKIPPED and not row.is_declared and (row.has_completed or _happened(config, state, idx)):
            yield f"row {idx} was skipped and it happened"
        if state.status in TERMINAL and config.policy != "fail":
            is_definite = row.attempts > 0 and not row.in_doubt and not row.has_completed
            if row.status in (FAILED, COMPENSATED) and (row.status == FAILED) != is_definite:
                yield f"row {idx} is {row.status} at rest, after {row.attempts} attempts, {row.in_doubt} in doubt"


def _happened(config: Config, state: State, idx: int) -> bool:
    """What is transactional and not on record did not happen; of other steps in doubt nobody knows."""
    return config.transactional and state.effects[idx]


def in_order(state: State) -> State:
    """Workers have no names: of states that differ in who is who one is enough."""
    workers = state.workers
    if len(workers) < 2:
        return state
    return state._replace(workers=tuple(sorted(workers, key=_rank)))


def _rank(worker: Worker) -> tuple[object, ...]:
    return (worker.phase != "idle", worker.fence, worker.phase, worker.move if worker.phase == "seen" else ())


def explore(config: Config, *, limit: int = 5_000_000) -> Explored:
    """Visit every state; then check that an end can be reached from each."""
    first = initial(config)
    numbers = {first: 0}
    came_from: list[tuple[int, str]] = [(0, "")]
    before: list[list[int]] = [[]]
    ends: list[int] = []
    queue = deque([first])
    while queue:
        state = queue.popleft()
        own = numbers[state]
        breach = breach_of(config, state)
        if breach:
            return Explored(len(numbers), breach, _path(came_from, own))
        if state.status in TERMINAL:
            ends.append(own)
        for action, found in successors(config, state):
            after = in_order(found)
            wrong = breach_between(state, after, action)
            if wrong:
                return Explored(len(numbers), wrong, (*_path(came_from, own), action))
            number = numbers.get(after)
            if number is None:
                number = numbers[after] = len(came_from)
                came_from.append((own, action))
                before.append([])
                queue.append(after)
            before[number].append(own)
        if len(numbers) > limit:
            raise AssertionError(f"the configuration must have at most {limit} states, got more: {config}")
    stuck = _stuck(before, ends)
    if stuck is not None:
        return Explored(len(numbers), "no end can be reached", _path(came_from, stuck))
    return Explored(len(numbers), "", ())


def _stuck(before: list[list[int]], ends: list[int]) -> int | None:
    reaches = bytearray(len(before))
    queue = deque(ends)
    for number in ends:
        reaches[number] = 1
    while queue:
        for number in before[queue.popleft()]:
            if not reaches[number]:
                reaches[number] = 1
                queue.append(number)
    found = reaches.find(0)
    return None if found < 0 else found


def _path(came_from: list[tuple[int, str]], number: int) -> tuple[str, ...]:
    actions = []
    while number:
        number, action = came_from[number]
        actions.append(action)
    return tuple(reversed(actions))
