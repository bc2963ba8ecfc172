"""Counters for Prometheus, in this process's default registry.

A pool child of a prefork worker counts for itself. With PROMETHEUS_MULTIPROC_DIR set for the whole worker, the client
library keeps them in files that `prometheus_client.multiprocess` adds up; without it a child's counts are seen by
whoever asks that very child. Who serves the page is the deployment's choice: nothing listens here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import Counter


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """All counters, registered together."""

    takeovers: Counter  # by policy and by how the end was learned: lease or witness
    rung: Counter
    skipped: Counter
    held_back: Counter
    fenced: Counter
    episodes: Counter  # by outcome


@cache
def counters() -> Counters | None:
    """The counters, registered at first use; None where prometheus-client is not installed."""
    try:
        from prometheus_client import Counter
    except ImportError:  # comes with Flower, which a slim worker may do without
        return None
    return Counters(
        takeovers=Counter("sagaworker_takeovers", "Episodes taken over.", ["policy", "learned_by"]),
        rung=Counter("sagaworker_rung", "Doorbells rung again for sagas that were due."),
        skipped=Counter("sagaworker_recovery_skipped", "Sagas that could not be recovered."),
        held_back=Counter("sagaworker_held_back", "Expired episodes left alone after an outage of the database."),
        fenced=Counter("sagaworker_fenced", "Episodes that ended because another worker had taken their saga over."),
        episodes=Counter("sagaworker_episodes", "Deliveries of a doorbell, by how they ended.", ["outcome"]),
    )


def count_episode(outcome: str) -> None:
    """One delivery of a doorbell ended."""
    found = counters()
    if found is not None:
        found.episodes.labels(outcome).inc()
        if outcome == "fenced":
            found.fenced.inc()


def count_takeovers(by_policy: Mapping[str, int], *, witnessed: bool) -> None:
    """Takeovers happened."""
    found = counters()
    if found is not None:
        for policy, number in by_policy.items():
            found.takeovers.labels(policy, "witness" if witnessed else "lease").inc(number)


def count_sweep(*, rung: int = 0, skipped: int = 0, held_back: int = 0) -> None:
    """What a sweep did besides taking over."""
    found = counters()
    if found is not None:
        found.rung.inc(rung)
        found.skipped.inc(skipped)
        found.held_back.inc(held_back)
