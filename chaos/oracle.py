"""The independent judge: compares the ledger's record of a saga with the effects in the world. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

TERMINAL = ("completed", "rolled_back", "failed")
Line = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The record of one saga. Events are (type, step_idx, fence or None) in order of seq."""

    status: str
    step_count: int
    rows: Mapping[int, tuple[str, int]] = field(default_factory=dict)  # idx: status, attempts
    events: Sequence[tuple[str, int | None, int | None]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """One disagreement. `rule` is a criterion of the run."""

    rule: str
    saga_id: str
    detail: str


def judge(saga_id: str, facts: Facts | None, lines: Sequence[Line], *, cancel_accepted: bool = False) -> list[Breach]:
    """The disagreements of record and world, and breaches of order within the record; empty when all is well."""
    if facts is None:
        return [Breach(rule="acknowledged and lost", saga_id=saga_id, detail="there is no such saga")]
    found = [*_ending(facts, lines, cancel_accepted), *_entries(facts, lines), *_order(lines), *_record(facts)]
    return [Breach(rule=rule, saga_id=saga_id, detail=detail) for rule, detail in found]


def _ending(facts: Facts, lines: Sequence[Line], cancel_accepted: bool) -> Iterator[tuple[str, str]]:  # noqa: FBT001
    left = _left(lines)
    if facts.status not in TERMINAL:
        yield "not terminal", f"it is {facts.status}"
    if facts.status == "completed":
        missing = set(range(facts.step_count)) - left
        if missing:
            yield "effect missing in completed", f"steps {sorted(missing)}"
        skipped = [idx for idx in range(facts.step_count) if facts.rows.get(idx, ("none", 0))[0] != "completed"]
        if skipped:
            yield "step skipped or lost", f"completed without steps {skipped} on record"
    if facts.status == "rolled_back" and left:
        yield "effect left after rolled_back", f"steps {sorted(left)}"
    if facts.status == "failed":
        excused = {idx for idx, (status, _) in facts.rows.items() if status == "compensation_failed"}
        if left - excused:
            yield "effect left after failed", f"steps {sorted(left - excused)} have no failed undo on record"
    if cancel_accepted and facts.status == "completed":
        yield "accepted cancel completed", "its cancel was acknowledged"


def _left(lines: Sequence[Line]) -> set[int]:
    left: set[int] = set()
    for line in lines:
        if line["what"] == "did":
            left.add(line["idx"])
        elif line["what"] == "undid":
            left.discard(line["idx"])
    return left


def _entries(facts: Facts, lines: Sequence[Line]) -> Iterator[tuple[str, str]]:
    entered = Counter((line["idx"], line["attempt"]) for line in lines if line["what"] == "entered")
    for (idx, attempt), times in sorted(entered.items()):
        if times > 1:
            yield "attempt entered twice", f"step {idx}, attempt {attempt}: {times} times"
        if attempt > facts.rows.get(idx, ("none", 0))[1]:
            yield "entered and not on record", f"step {idx}, attempt {attempt}"


def _order(lines: Sequence[Line]) -> Iterator[tuple[str, str]]:
    world: set[int] = set()
    undone_to: int | None = None
    highest = 0
    for line in lines:
        idx = line["idx"]
        is_late = line.get("fence", 0) < highest  # a process that slept and was given up: its undo is a repetition
        highest = max(highest, line.get("fence", 0))
        match line["what"]:
            case "did":
                if not world >= set(range(idx)) and undone_to is None:
                    yield "step skipped or lost", f"step {idx} acted and a lower one had not"
                world.add(idx)
            case "undoing":
                if undone_to is not None and idx > undone_to and not is_late:
                    yield "undone out of order", f"step {idx} after step {undone_to}"
                undone_to = idx if undone_to is None else min(idx, undone_to)
            case "undid":
                world.discard(idx)


def _record(facts: Facts) -> Iterator[tuple[str, str]]:
    undone = Counter(idx for type_, idx, _ in facts.events if type_ == "step.compensated")
    for idx, times in undone.items():
        if times > 1:
            yield "compensated twice on record", f"step {idx}: {times} times"
    done = Counter(idx for type_, idx, _ in facts.events if type_ == "step.completed")
    for idx, times in done.items():
        if times > 1:
            yield "step completed twice on record", f"step {idx}: {times} times"
    highest = 0
    for type_, _, fence in facts.events:
        if fence is not None and fence < highest:
            yield "late write accepted", f"{type_} of fence {fence} after fence {highest}"
        highest = max(highest, fence or 0)


def self_test() -> int:
    """Prove that the judge catches forged ledgers and worlds; returns how many. A judge that finds nothing proves nothing.

    Raises:
        AssertionError: a forgery passed, or an honest saga did not.
    """
    did = [{"what": what, "idx": idx, "attempt": 1} for idx in (0, 1) for what in ("entered", "did")]
    undone = [{"what": what, "idx": idx, "attempt": 1} for idx in (1, 0) for what in ("undoing", "undid")]
    whole = Facts(
        status="completed",
        step_count=2,
        rows={0: ("completed", 1), 1: ("completed", 1)},
        events=[("saga.claimed", 0, 1), ("step.completed", 0, 1), ("step.completed", 1, 1)],
    )
    back = Facts(
        status="rolled_back",
        step_count=2,
        rows={0: ("compensated", 1), 1: ("compensated", 1)},
        events=[("saga.claimed", 0, 1), ("step.compensated", 1, 1), ("step.compensated", 0, 1)],
    )
    late = Facts(
        status="completed",
        step_count=2,
        rows=whole.rows,
        events=[*whole.events, ("saga.taken_over", 1, 2), ("step.failed", 1, 1)],
    )
    twice = Facts(status="rolled_back", step_count=2, rows=back.rows, events=[*back.events, ("step.compensated", 0, 1)])
    forged: list[tuple[str, Facts | None, list[Any], bool]] = [
        ("effect missing in completed", whole, did[:2], False),
        ("effect left after rolled_back", back, [*did, *undone[:2]], False),
        ("late write accepted", late, did, False),
        ("compensated twice on record", twice, [*did, *undone], False),
        ("accepted cancel completed", whole, did, True),
        ("acknowledged and lost", None, [], False),
        ("attempt entered twice", whole, [*did, did[0]], False),
        ("undone out of order", back, [*did, *undone[2:], *undone[:2]], False),
        ("step skipped or lost", whole, [*did[2:], *did[:2]], False),
    ]
    for rule, facts, lines, accepted in forged:
        caught = {breach.rule for breach in judge("forged", facts, lines, cancel_accepted=accepted)}
        assert rule in caught, f"the oracle must catch {rule!r}, it caught {caught}"
    for facts, lines in ((whole, did), (back, [*did, *undone])):
        assert judge("honest", facts, lines) == []
    return len(forged)
