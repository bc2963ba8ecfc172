"""From the records to the criteria: the oracle's breaches, the audit, and the times of resumption."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from chaos import oracle, plan, planted, world
from chaos.alive import Pools, Span, nobody, within
from chaos.facts import facts
from chaos.faults import Faults, Hit
from chaos.load import acknowledged
from chaos.report import Criterion, counted, percentile
from chaos.stage import Stage
from sagaworker.engine import Engine

FORGERIES = 5
ENOUGH = 100  # resumptions: the 99th percentile of fewer is their maximum, which may be one unlucky queue
SLOWEST = 6
LARGE = ("main", "database restart", "database outage", "broker restart", "broker flush")
KILLS = ("child in execute", "child in compensate", "child anywhere", "main")
_EPISODES = """
SELECT saga_id::text, pid, extract(epoch FROM started_at)::float8, extract(epoch FROM ended_at)::float8, outcome::text
FROM saga_episodes ORDER BY saga_id, fence
"""
_RATES = """
SELECT
  round(count(*) / extract(epoch FROM max(r.inserted_at) - min(r.inserted_at)), 1)::float8,
  round(count(r.completed_at) / extract(epoch FROM max(r.completed_at) - min(r.inserted_at)), 1)::float8,
  round(sum(e.moved) / extract(epoch FROM max(r.completed_at) - min(r.inserted_at)), 1)::float8
FROM saga_runs AS r
CROSS JOIN LATERAL (
  SELECT count(*) AS moved FROM saga_events AS e
  WHERE e.saga_id = r.id AND e.type IN ('step.completed', 'step.compensated')
) AS e
WHERE r.kind = %s
"""


@dataclass(frozen=True, slots=True)
class Resumed:
    """A saga whose holder was hit: how long until somebody held it again."""

    hit: Hit
    taken_at: float
    seconds: float

    @property
    def span(self) -> Span:
        """The time from the fault to the next claim."""
        return self.hit.at, self.hit.at + self.seconds


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement of a run."""

    criteria: list[Criterion]
    figures: dict[str, Any]
    breaches: list[str]


def verdict(
    stage: Stage,
    faults: Faults,
    looks: Sequence[tuple[float, Pools]],
    *,
    seed: int,
    forged: int,
    spurious: int,
    backlog: float | None,
) -> Verdict:
    """Judge a finished run. `backlog` is the seconds it took after the last fault, None where it never ended.

    `looks`: which pools lived, at many times of the run.
    """
    known = acknowledged(stage.client_logs)
    with psycopg.connect(stage.postgres.url, autocommit=True) as connection:
        on_record = facts(connection, plan.KIND)
        episodes = connection.execute(_EPISODES).fetchall()
        rates = connection.execute(_RATES, [plan.KIND]).fetchone()
    lines = {saga_id: world.read(stage.world / saga_id) for saga_id in {*on_record, *known.ids.values()}}
    corrupted = planted.caught(seed, on_record, lines)
    breaches = []
    for saga_id in sorted(lines):
        accepted = known.cancels.get(saga_id, "not_active") != "not_active"
        breaches += oracle.judge(saga_id, on_record.get(saga_id), lines[saga_id], cancel_accepted=accepted)
    rules = Counter(breach.rule for breach in breaches)
    with Engine(stage.settings) as engine:  # the stage's own engine has connections that died with the database
        findings = engine.audit()
    resumed, in_hold = _resumed(faults.hits, episodes)
    told = [f"{breach.rule}: saga {breach.saga_id}: {breach.detail}" for breach in breaches] + [
        f"audit {one.invariant}: saga {one.saga_id}: {one.detail}" for one in findings
    ]
    times = _times(resumed, faults, looks, episodes)
    kills = sum(hit.fault in KILLS for hit in faults.hits)
    p99 = percentile(times.usual, 0.99)
    is_enough = len(times.usual) >= ENOUGH
    criteria = [
        Criterion("forged records the oracle caught", forged, f">= {FORGERIES}", forged >= FORGERIES, is_void=True),
        Criterion(
            "corruptions planted in its records, caught", corrupted, f">= {FORGERIES}", corrupted >= FORGERIES, True
        ),
        Criterion("spurious takeovers without faults", spurious, "0", spurious == 0),
        *_zeroes(rules),
        Criterion("audit findings", len(findings), "0", not findings),
        Criterion("refused late writes", stage.told["refused"], "> 0", stage.told["refused"] > 0),
        *([Criterion("resumption p99, s", round(p99, 2), "<= 6", p99 <= 2 * plan.LEASE)] if is_enough else []),
        Criterion("backlog zero after the last fault, s", backlog, "<= 60", backlog is not None),
    ]
    figures = {
        "sagas": dict(Counter(one.status for one in on_record.values())),
        "acknowledged starts, accepted cancels": (
            len(known.ids),
            sum(answer != "not_active" for answer in known.cancels.values()),
        ),
        "doubled doorbells": len(known.doubled),
        "a second: sagas started, sagas ended, steps and undos recorded": rates,
        "kills that hit a hold, of all kills": (in_hold, kills),
        **_told_times(times, faults),
        "episodes": dict(Counter(row[4] for row in episodes)),
        "effects refused by tombstones": _late_effects(stage),
        "database away, s": [round(ended - began, 1) for began, ended in faults.away],
        "hard ends": stage.told["hard end"],
    }
    return Verdict(criteria, figures, told)


@dataclass(frozen=True, slots=True)
class Times:
    """The resumptions of a run, in seconds and as they are judged or told."""

    judged: list[Resumed]
    usual: list[float]  # what takeovers and queues took: without the time in which no pool was at work
    alone: list[float]  # of those that waited for a pool, all their time
    held: list[float]  # of those in or soon after a restart of the database
    apart: list[float]  # of those within an outage or two leases after it, which are not judged
    unattended: list[tuple[float, float]]


def _times(resumed: list[Resumed], faults: Faults, looks: Sequence[tuple[float, Pools]], episodes: list[Any]) -> Times:
    outages = [away for away in faults.away if away[1] - away[0] >= 2 * plan.LEASE]
    judged = [one for one in resumed if not _is_within(one, outages)]
    unattended = nobody(looks, _first_claims(episodes))
    return Times(
        judged=judged,
        usual=[one.seconds - within(one.span, unattended) for one in judged],
        alone=[one.seconds for one in judged if within(one.span, unattended)],
        held=[one.seconds for one in judged if _is_within(one, faults.away)],
        apart=[one.seconds for one in resumed if _is_within(one, outages)],
        unattended=unattended,
    )


def _told_times(times: Times, faults: Faults) -> dict[str, Any]:
    return {
        "resumptions, p50, p99, max, s": _spread(times.usual),
        "of these in or soon after a database restart": _spread(times.held),
        "apart: taken over in the outage or two leases after": _spread(times.apart),
        "no pool at work, s": [round(ended - began, 1) for began, ended in times.unattended],
        "of the resumptions those that waited for one, all their time": _spread(times.alone),
        "resumptions by fault": _by_fault(times.judged, lambda one: one.seconds),
        "until taken over, by fault": _by_fault(times.judged, lambda one: one.taken_at - one.hit.at),
        "the slowest": _slowest(times.judged, faults.done),
    }


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


def _first_claims(episodes: Sequence[tuple[Any, ...]]) -> dict[int, float]:
    """The time when each pool child began its first episode, by pid."""
    found: dict[int, float] = {}
    for _, pid, began, _, _ in episodes:
        found[pid] = min(began, found.get(pid, began))
    return found


def _by_fault(resumed: Sequence[Resumed], of: Callable[[Resumed], float]) -> dict[str, tuple[float, ...]]:
    seconds: dict[str, list[float]] = defaultdict(list)
    for one in resumed:
        seconds[one.hit.fault].append(of(one))
    return {fault: _spread(some) for fault, some in seconds.items()}


def _slowest(resumed: Sequence[Resumed], done: Sequence[tuple[float, float, str]]) -> list[str]:
    """The slowest resumptions, with the large faults near them. Faults of single processes or lines are left out."""
    opened = min((began for began, _, _ in done), default=0.0)
    told = []
    for one in sorted(resumed, key=lambda one: -one.seconds)[:SLOWEST]:
        at, until = one.hit.at, one.hit.at + one.seconds
        meanwhile = [
            f"{fault} at {began - opened:.1f} to {ended - opened:.1f}"
            for began, ended, fault in sorted(done)
            if began < until and ended > at - 2 * plan.LEASE and fault in LARGE
        ]
        told.append(
            f"{one.seconds:.1f} s after {one.hit.fault} at {at - opened:.1f}, taken over after"
            f" {one.taken_at - at:.1f} s; near it: {', '.join(meanwhile) or 'nothing large'}"
        )
    return told


def _spread(seconds: Sequence[float]) -> tuple[float, ...]:
    """How many, two percentiles and the longest."""
    return len(seconds), *(round(percentile(seconds, share), 2) for share in (0.5, 0.99, 1))


def _is_within(resumed: Resumed, away: Sequence[tuple[float, float]]) -> bool:
    """Whether the saga was taken over while the database was away, or within two leases after."""
    return any(began <= resumed.taken_at <= ended + 2 * plan.LEASE for began, ended in away)


def _late_effects(stage: Stage) -> int:
    return sum('"refused"' in path.read_text() for path in stage.world.iterdir())
