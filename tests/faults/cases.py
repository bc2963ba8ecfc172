"""Which faults: every action at every point, at the first, middle and last step; and all ordered pairs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from sagaworker.failpoints import EFFECT_ACTIONS, EFFECTS, MOVES, Action

ENDINGS = ("completes", "fails", "cancelled")
STEPS = 4
ANYWHERE = ("start", "take_over", "wake", "cancel", "witness")  # moves that belong to no step
BACKWARD = ("fail", "compensate", "compensated", "park")
FORWARD = ("advance", "execute")
AFTER_DEATH = ("take_over", "witness", "park")  # an undo parks only for the quarantine that an unseen death leaves


@dataclass(frozen=True, slots=True)
class Case:
    """One saga under these faults. `faults` are the ones to be seen; `text` has what leads to them too."""

    number: int
    faults: tuple[str, ...]
    text: str
    busy: int
    ending: str
    is_witnessed: bool


def single(number: int, fault: str, busy: int, ending: str) -> Case:
    return _case(number, (fault,), busy, ending)


def singles() -> Iterator[Case]:
    """All actions at all points; points of a step at its first, middle and last position."""
    number = 0
    for name, point, action in _points():
        positions = (None,) if name in ANYWHERE else (0, 1, STEPS - 1)
        for position in positions:
            place = point if position is None else f"{point}@{position}"
            for ending in ("completes",) if name in FORWARD else _endings([name]):
                busy = STEPS - 1 if name in ("compensate", "compensated") else 1 if position is None else position
                yield _case(number, (f"{place}={action}",), busy, ending)
                number += 1


def pairs() -> Iterator[Case]:
    """All ordered pairs: the second fault waits until the first has fired."""
    faults = list(_points())
    for number, (first, second) in enumerate((a, b) for a in faults for b in faults):
        endings = _endings([first[0], second[0]])
        yield _case(
            number,
            tuple(f"{point}={action}" for _, point, action in (first, second)),
            busy=1 + number % 2,
            ending=endings[number % len(endings)],
        )


def sample(seed: int, *, of_singles: int, of_pairs: int) -> list[Case]:
    """A seeded choice of both."""
    draw = random.Random(seed)
    return draw.sample(list(singles()), of_singles) + draw.sample(list(pairs()), of_pairs)


def _points() -> Iterator[tuple[str, str, Action]]:
    for name in (*MOVES, *EFFECTS):
        for when in ("before", "after"):
            for action in EFFECT_ACTIONS if name in EFFECTS else Action:
                yield name, f"{name}.{when}", action


def _endings(names: list[str]) -> tuple[str, ...]:
    if "cancel" in names:
        return ("cancelled",)
    return ("fails",) if any(name in BACKWARD for name in names) else ("completes", "fails")


def _case(number: int, faults: tuple[str, ...], busy: int, ending: str) -> Case:
    names = {fault.partition(".")[0] for fault in faults}
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
