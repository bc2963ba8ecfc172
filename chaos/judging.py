"""From what was recorded to criteria: the oracle's breaches, the audit, and the times of resumption."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from chaos import oracle, plan, world
from chaos.facts import facts
from chaos.faults import Faults, Hit
from chaos.load import acknowledged
from chaos.report import Criterion, counted, percentile
from chaos.stage import Stage
from sagaworker.engine import Engine

FORGERIES = 5
KILLS = ("child in execute", "child in compensate", "child anywhere", "main")
_EPISODES = """
SELECT saga_id::text, pid, extract(epoch FROM started_at)::float8, extract(epoch FROM ended_at)::float8, outcome::text
FROM episodes ORDER BY saga_id, fence
"""


@dataclass(frozen=True, slots=True)
class Resumed:
    """A saga whose holder was hit: how long until somebody held it again."""

    hit: Hit
    taken_at: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the records came to."""

    criteria: list[Criterion]
    figures: dict[str, Any]
    breaches: list[str]


def verdict(stage: Stage, faults: Faults, *, forged: int, spurious: int, backlog: float | None) -> Verdict:
    """Judge a finished run. `backlog` is the seconds it took after the last fault, None where it never ended."""
    known = acknowledged(stage.client_logs)
    with psycopg.connect(stage.postgres.url, autocommit=True) as connection:
        on_record = facts(connection, plan.KIND)
        episodes = connection.execute(_EPISODES).fetchall()
    breaches = []
    for saga_id in sorted(set(on_record) | set(known.ids.values())):
        accepted = known.cancels.get(saga_id, "not_active") != "not_active"
        lines = world.read(stage.world / saga_id)
        breaches += oracle.judge(saga_id, on_record.get(saga_id), lines, cancel_accepted=accepted)
    rules = Counter(breach.rule for breach in breaches)
    with Engine(stage.settings) as engine:  # the stage's own has connections that died with the database
        findings = engine.audit()
    resumed, in_hold = _resumed(faults.hits, episodes)
    told = [f"{breach.rule}: saga {breach.saga_id}: {breach.detail}" for breach in breaches] + [
        f"audit {one.invariant}: saga {one.saga_id}: {one.detail}" for one in findings
    ]
    usual = [one.seconds for one in resumed if not _is_outage(one, faults.away)]
    apart = [one.seconds for one in resumed if _is_outage(one, faults.away)]
    kills = sum(hit.fault in KILLS for hit in faults.hits)
    p99 = percentile(usual, 0.99)
    criteria = [
        Criterion("forged records the oracle caught", forged, f">= {FORGERIES}", forged >= FORGERIES, is_void=True),
        Criterion("spurious takeovers without faults", spurious, "0", spurious == 0),
        *_zeroes(rules),
        Criterion("audit findings", len(findings), "0", not findings),
        Criterion("refused late writes", stage.told["refused"], "> 0", stage.told["refused"] > 0),
        Criterion("resumption p99, s", round(p99, 2), "<= 6", p99 <= 2 * plan.LEASE),
        Criterion("backlog zero after the last fault, s", backlog, "<= 60", backlog is not None),
    ]
    figures = {
        "sagas": dict(Counter(one.status for one in on_record.values())),
        "acknowledged starts, accepted cancels": (
            len(known.ids),
            sum(answer != "not_active" for answer in known.cancels.values()),
        ),
        "doubled doorbells": known.doubled,
        "kills that hit a hold, of all kills": (in_hold, kills),
        "resumption p50, max, s": (round(percentile(usual, 0.5), 2), round(max(usual, default=0), 2)),
        "resumptions, and apart (database away and two leases)": (len(usual), len(apart)),
        "resumption apart p50, max, s": (round(percentile(apart, 0.5), 2), round(max(apart, default=0), 2)),
        "resumption p50, p99 by fault, s": _by_fault([one for one in resumed if not _is_outage(one, faults.away)]),
        "episodes": dict(Counter(row[4] for row in episodes)),
        "effects refused by tombstones": _late_effects(stage),
        "database away, s": [round(ended - began, 1) for began, ended in faults.away],
        "hard ends": stage.told["hard end"],
    }
    return Verdict(criteria, figures, told)


def _zeroes(rules: Counter[str]) -> list[Criterion]:
    named = {
        "acknowledged sagas lost or not terminal": ("acknowledged and lost", "not terminal"),
        "steps skipped or lost": ("step skipped or lost", "step completed twice on record"),
        "attempts entered twice or before they were on record": ("attempt entered twice", "entered and not on record"),
        "effects left after rolled_back": ("effect left after rolled_back", "effect left after failed"),
        "effects missing in completed": ("effect missing in completed",),
        "undos out of order": ("undone out of order",),
        "compensated twice on record": ("compensated twice on record",),
        "accepted cancels that completed": ("accepted cancel completed",),
        "accepted late writes": ("late write accepted",),
    }
    found = {name: counted(rules, *of) for name, of in named.items()}
    return [Criterion(name, count, "0", count == 0) for name, count in found.items()]


def _resumed(hits: Sequence[Hit], episodes: Sequence[tuple[Any, ...]]) -> tuple[list[Resumed], int]:
    """The resumptions, and how many kills hit a process that held a saga."""
    of_pid: dict[int, list[Hit]] = defaultdict(list)
    for hit in hits:
        of_pid[hit.pid].append(hit)
    resumed: list[Resumed] = []
    in_hold: set[float] = set()  # instants: a main that dies with its children is one kill
    for episode, following in zip(episodes, [*episodes[1:], None], strict=True):
        saga_id, pid, began, ended, outcome = episode
        if outcome not in ("died", "orphaned"):
            continue
        during = [one for one in of_pid[pid] if began <= one.at <= ended]
        if not during:
            continue
        hit = during[0]
        if hit.fault in KILLS or hit.fault == "child of main":
            in_hold.add(hit.at)
        if following is not None and following[0] == saga_id:
            resumed.append(Resumed(hit, ended, following[2] - hit.at))
    return resumed, len(in_hold)


def _by_fault(resumed: Sequence[Resumed]) -> dict[str, tuple[int, float, float]]:
    """How many, and two percentiles."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for one in resumed:
        seconds[one.hit.fault].append(one.seconds)
    return {
        fault: (len(some), round(percentile(some, 0.5), 2), round(percentile(some, 0.99), 2))
        for fault, some in seconds.items()
    }


def _is_outage(resumed: Resumed, away: Sequence[tuple[float, float]]) -> bool:
    return any(
        began - plan.LEASE <= resumed.hit.at <= ended + 2 * plan.LEASE
        or began <= resumed.taken_at <= ended + 2 * plan.LEASE
        for began, ended in away
    )


def _late_effects(stage: Stage) -> int:
    return sum('"refused"' in path.read_text() for path in stage.world.iterdir())
