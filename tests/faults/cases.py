"""Which faults: every action at every point, at the first, middle and last step; and all ordered pairs of a story."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from sagaworker.failpoints import EFFECT_ACTIONS, EFFECTS, MOVES, Action

ENDINGS = ("completes", "fails", "cancelled", "parks")  # parks: fails at once, so that the quarantine is met
STEPS = 4
WORKS = "works"  # the story in which a step fails, waits, stops and is undone
STORIES = {
    "asked": ("probe", "absent"),
    "person": ("hold", "release", "retry_step", "resolve_absent", "resolve_happened"),
    "skipper": ("skip_step",),
    "halted": ("retry_undo", "skip_undo"),
    "given_up": ("reopen",),
}
STORY_OF = {name: story for story, names in STORIES.items() for name in names}
BESIDE = ("claim", "park", "take_over")  # what the faults of the other stories are paired with
ANYWHERE = ("start", "take_over", "wake", "cancel", "witness")  # moves that belong to no step
ANYWHERE += tuple(name for name in STORY_OF if name not in ("probe", "absent", "resolve_happened"))
BACKWARD = ("fail", "compensate", "compensated", "park")
FORWARD = ("advance", "execute")
AFTER_DEATH = ("take_over", "witness", "park")  # an undo parks only for the quarantine that an unseen death leaves


Point: TypeAlias = tuple[str, str, Action]  # name, name and when, what


@dataclass(frozen=True, slots=True)
class Case:
    """One saga under these faults. `faults` are the ones to be seen; `text` has what leads to them too.

    `story`: what happens to its busy step besides, and what a person does about it.
    """

    number: int
    faults: tuple[str, ...]
    text: str
    busy: int
    ending: str
    is_witnessed: bool
    story: str = WORKS


def single(number: int, fault: str, busy: int, ending: str) -> Case:
    return _case(number, (fault,), busy, ending)


def singles() -> Iterator[Case]:
    """All actions at all points; points of a step at its first, middle and last position."""
    number = 0
    for name, point, action in _points():
        positions = (None,) if name in ANYWHERE else (0, 1, STEPS - 1)
        for position in positions:
            place = point if position is None else f"{point}@{position}"
            for ending in (
                ("completes",) if name in (*FORWARD, "probe", "absent", "resolve_happened") else _endings([name])
            ):
                busy = STEPS - 1 if name in ("compensate", "compensated") else 1 if position is None else position
                yield _case(number, (f"{place}={action}",), busy, ending)
                number += 1


def pairs() -> Iterator[Case]:
    """All ordered pairs that can meet in one story: the second fault waits until the first has fired."""
    for number, (first, second) in enumerate(_meeting()):
        endings = _endings([first[0], second[0]])
        yield _case(
            number,
            tuple(f"{point}={action}" for _, point, action in (first, second)),
            busy=1 + number % 2,
            ending=endings[number % len(endings)],
        )


def _meeting() -> Iterator[tuple[Point, Point]]:
    works = [fault for fault in _points() if fault[0] not in STORY_OF]
    yield from ((a, b) for a in works for b in works)
    beside = [fault for fault in works if fault[0] in BESIDE]
    for names in STORIES.values():
        own = [fault for fault in _points() if fault[0] in names]
        yield from ((a, b) for a in own for b in own)
        yield from (pair for a in own for b in beside for pair in ((a, b), (b, a)))


def sample(seed: int, *, of_singles: int, of_pairs: int) -> list[Case]:
    """A seeded choice of both."""
    draw = random.Random(seed)
    return draw.sample(list(singles()), of_singles) + draw.sample(list(pairs()), of_pairs)


def _points() -> Iterator[Point]:
    for name in (*MOVES, *EFFECTS):
        for when in ("before", "after"):
            for action in EFFECT_ACTIONS if name in EFFECTS else Action:
                yield name, f"{name}.{when}", action


def _endings(names: list[str]) -> tuple[str, ...]:
    if "cancel" in names:
        return ("cancelled",)
    if set(names) == {"park"}:
        return ("parks",)
    if "halted" in (STORY_OF.get(name) for name in names):
        return ("fails",)
    if "skipper" in (STORY_OF.get(name) for name in names):
        return ("completes",)
    return ("fails",) if any(name in BACKWARD for name in names) else ("completes", "fails")


def _case(number: int, faults: tuple[str, ...], busy: int, ending: str) -> Case:
    names = {fault.partition(".")[0] for fault in faults}
    story = next((STORY_OF[name] for name in names if name in STORY_OF), WORKS)
    if story != WORKS:
        # In these the steps die by themselves. One that fails for good is the last.
        busy = min(busy, STEPS - 2) if ending == "fails" else busy
        return Case(number, faults, ">".join(faults), busy, ending, is_witnessed=number % 4 != 0, story=story)
    busy = 1 if "park" in names and len(faults) > 1 else busy  # that step has no tombstone
    chain: list[str] = []
    for fault in faults:
        name = fault.partition(".")[0]
        died = chain and chain[-1].endswith(("=kill", "=pause")) and not chain[-1].startswith("take_over.after")
        if name in AFTER_DEATH and not died:
            chain.append(f"execute.before@{busy}=kill")
        chain.append(fault)
    is_witnessed = "witness" in names or ("park" not in names and number % 2 == 0)
    return Case(number, faults, ">".join(chain), busy, ending, is_witnessed)
