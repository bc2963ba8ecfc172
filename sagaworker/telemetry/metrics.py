"""Counters for Prometheus, in this process's default registry.

Each pool child of a prefork worker has its own counts. With PROMETHEUS_MULTIPROC_DIR set for the whole worker, the client
library keeps counts in files that `prometheus_client.multiprocess` adds up. Without it, only the child itself can show
its counts. The deployment chooses who serves the page: nothing listens here.

Counting never fails: an error in it is logged, and the saga or the sweep goes on.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import Counter

log = logging.getLogger(__name__)
_registering = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """All counters, registered together."""

    takeovers: Counter  # by policy, and by how the death was noticed: lease or witness
    rung: Counter
    skipped: Counter
    held_back: Counter
    fenced: Counter
    episodes: Counter  # by outcome


def counters() -> Counters | None:
    """The counters, registered at first use; None where prometheus-client is not installed or refuses their names."""
    # `cache` alone would run this in each thread that comes before the first result, and a name can register only once.
    with _registering:
        return _registered()


@cache
def _registered() -> Counters | None:
    try:
        return _register()
    except ImportError:  # installed with Flower, which a slim worker may lack
        return None
    except Exception:
        log.exception("counters must be registered once under their own names; nothing is counted in this process")
        return None


def _register() -> Counters:
    from prometheus_client import Counter

    return Counters(
        takeovers=Counter("sagaworker_takeovers", "Episodes taken over.", ["policy", "learned_by"]),
        rung=Counter("sagaworker_rung", "Doorbells rung again for sagas that were due."),
        skipped=Counter("sagaworker_recovery_skipped", "Sagas that could not be recovered."),
        held_back=Counter("sagaworker_held_back", "Expired episodes left alone after an outage of the database."),
        fenced=Counter("sagaworker_fenced", "Episodes that ended because another worker had taken their saga over."),
        episodes=Counter("sagaworker_episodes", "Deliveries of a doorbell, by how they ended.", ["outcome"]),
    )


@contextlib.contextmanager
def _harmless() -> Iterator[None]:
    try:
        yield
    except Exception:
        log.exception("not counted; the work goes on")


@_harmless()
def count_episode(outcome: str) -> None:
    """One delivery of a doorbell ended."""
    found = counters()
    if found is not None:
        found.episodes.labels(outcome).inc()
        if outcome == "fenced":
            found.fenced.inc()


@_harmless()
def count_takeovers(by_policy: Mapping[str, int], *, witnessed: bool) -> None:
    """Takeovers happened."""
    found = counters()
    if found is not None:
        for policy, number in by_policy.items():
            found.takeovers.labels(policy, "witness" if witnessed else "lease").inc(number)


@_harmless()
def count_sweep(*, rung: int = 0, skipped: int = 0, held_back: int = 0) -> None:
    """Count a sweep's work other than takeovers."""
    found = counters()
    if found is not None:
        found.rung.inc(rung)
        found.skipped.inc(skipped)
        found.held_back.inc(held_back)
