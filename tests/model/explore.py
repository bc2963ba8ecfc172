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
    TERMINAL,
    Config,
    State,
    initial,
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
    return state.breach or next(_run_breaches(state), "") or next(_row_breaches(config, state), "")


def _run_breaches(state: State) -> Iterator[str]:
    rows = state.rows
    if state.status == COMPLETED:
        if state.cancel:
            yield "a cancel was accepted and the saga completed"
        if not all(state.effects) or any(row.status != COMPLETED for row in rows):
            yield "the saga completed and an effect is missing"
    if state.status == ROLLED_BACK:
        if any(state.effects):
            yield f"the saga is rolled_back and the effects {state.effects} are left"
        if any(row.status != COMPENSATED and (row.has_completed or row.in_doubt) for row in rows):
            yield "the saga is rolled_back and a completed or doubted row was not undone"
    if state.status == FAILED and all(row.status != NOT_UNDONE for row in rows):
        yield "the saga failed and no undo did"
    if state.status in TERMINAL and state.open:
        yield "the saga is terminal and an episode is open"


def _row_breaches(config: Config, state: State) -> Iterator[str]:
    for idx, row in enumerate(state.rows):
        if state.status == RUNNING and (row.status in (PENDING, RUNNING)) != (idx == state.idx):
            yield f"the saga runs at {state.idx} and row {idx} is {row.status}"
        if (row.status == COMPENSATING) != (state.status == COMPENSATING and idx == state.idx):
            yield f"the saga is {state.status} at {state.idx} and row {idx} is {row.status}"
        if state.status == COMPENSATING and idx > state.idx and row.status == COMPLETED:
            yield f"row {idx} is completed above the one that is being undone"
        if row.attempts > config.max_attempts + min(row.recoveries, config.max_recoveries):
            yield f"row {idx} has {row.attempts} attempts and {row.recoveries} recoveries"
        # A step of one attempt is never tried again after a failure. Where RETRY allows more, a worker that died between
        # claim and begin may grant one more: the row does not tell which of its doubts were deaths.
        if row.retried >= config.max_attempts + (config.max_attempts > 1) * max(row.recoveries - 1, 0):
            yield f"row {idx} was tried again {row.retried} times after a failure"
        if row.in_doubt > row.attempts or row.in_doubt > state.entered[idx].bit_count() + row.recoveries:
            yield f"row {idx} has {row.in_doubt} doubts, nobody died in it and it was not entered"
        if row.fence > state.fence:
            yield f"row {idx} has a fence above the run's"


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
        for action, after in successors(config, state):
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
