"""The plan of a run, all from one seed: the sagas, and the time of each fault."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

KIND = "chaos"
STEPS = 4
LEASE = 3.0
SWEEP = 1.0
TIMEOUT = 4.0
GRACE = 1.0
CANCELLED = 0.20
QUICK = 0.002  # seconds on each side of an effect
SLOW = (0.02, 0.06)
BENDS = (("fail", 0.05), ("raise", 0.02), ("flaky", 0.02), ("poison", 0.005))


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """The size of a run. `faults`: the least number of each class. `window`: the seconds during which faults come."""

    sagas: int
    calm: int
    window: float
    doubled: int
    faults: Mapping[str, int]

    def scaled(self, share: float) -> Size:
        """A shorter run at the same rates; classes with less than one fault are left out."""
        return Size(
            sagas=round(self.sagas * share),
            calm=round(self.calm * share),
            window=self.window * share,
            doubled=round(self.doubled * share),
            faults={fault: round(count * share) for fault, count in self.faults.items()},
        )


FULL = Size(
    sagas=10_000,
    calm=300,
    window=500,
    doubled=1000,
    faults={
        "child in execute": 150,
        "child in compensate": 80,
        "child anywhere": 200,
        "main": 50,
        "beat": 10,
        "client": 10,
        "pause": 30,
        "short pause": 15,
        "backend": 200,
        "cut": 60,
        "database restart": 5,
        "database outage": 1,
        "broker restart": 5,
        "broker flush": 3,
    },
)
SHORT = Size(
    sagas=400,
    calm=60,
    window=24,
    doubled=40,
    faults={
        "child in execute": 8,
        "child in compensate": 4,
        "child anywhere": 6,
        "main": 2,
        "beat": 1,
        "client": 1,
        "pause": 1,
        "short pause": 8,  # so many, because some wake up before anybody swept
        "backend": 10,
        "cut": 4,
        "database restart": 1,
        "database outage": 0,
        "broker restart": 1,
        "broker flush": 1,
    },
)
# Seconds that a fault lasts. All faults must be over soon after the window.
LASTS = {"pause": 3 * LEASE, "short pause": 1.5 * LEASE, "database outage": 2 * LEASE + 2}


@dataclass(frozen=True, slots=True, order=True)
class Due:
    """One fault, so many seconds after the window opened."""

    at: float
    fault: str


def schedule(seed: int, size: Size) -> list[Due]:
    """All faults of a run in order of time."""
    draw = random.Random(f"{seed}:faults")  # noqa: S311 - a schedule, not a secret
    return sorted(
        Due(draw.uniform(0, max(0, size.window - LASTS.get(fault, 0))), fault)
        for fault, count in size.faults.items()
        for _ in range(count)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One saga: its list, when it is cancelled (seconds after its start, or never), and whether it is rung twice."""

    steps: list[dict[str, Any]]
    cancel_after: float | None
    is_doubled: bool


def planned(seed: int, number: int, size: Size) -> Planned:
    """Saga `number` of a run."""
    draw = random.Random(f"{seed}:{number}")  # noqa: S311 - a schedule, not a secret
    bend = draw.random()
    kind = ""
    for name, share in BENDS:
        if 0 <= bend < share:
            kind = name
        bend -= share
    steps = [_step(draw, idx) for idx in range(STEPS)]
    if kind == "flaky":
        steps[1]["params"]["flaky"] = 2
        steps[3]["params"]["then"] = "fail"
    elif kind:
        steps[draw.randrange(1, STEPS)]["params"]["then"] = kind
    is_cancelled = draw.random() < CANCELLED
    return Planned(
        steps=steps,
        cancel_after=draw.uniform(0, 0.4) if is_cancelled else None,
        is_doubled=number % max(1, size.sagas // size.doubled) == 0,
    )


def _step(draw: random.Random, idx: int) -> dict[str, Any]:
    # Most steps are quick; one in five lasts long enough to be hit inside.
    seconds = draw.choice([QUICK, QUICK, QUICK, QUICK, draw.uniform(*SLOW)])
    undo = draw.choice([QUICK, draw.uniform(*SLOW)])
    name = "Tombstoned" if idx % 2 else "Plain"
    return {"step": f"chaos.steps.acts:{name}", "params": {"seconds": round(seconds, 3), "undo": round(undo, 3)}}
