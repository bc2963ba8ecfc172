"""How long this process holds back takeovers after it could not reach the database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from sagaworker.ledger.lease import now
from sagaworker.ledger.outage import OUTAGE


class Reach:
    """One process' contacts with the database. After an absence the process holds back for as long as that may have lasted.

    It holds back for one lease at most. A living holder beats four times a lease, so it beats again within a quarter of a
    lease. A lease that was extended just before the absence has three quarters left (docs/architecture.md, Held back).
    """

    def __init__(self, lease: timedelta) -> None:
        self._lease = lease.total_seconds()
        self._reached_at: float | None = None
        self._has_failed = False
        self._held_until = 0.0

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Around a statement: note whether it reached the database."""
        try:
            yield
        except OUTAGE:
            self._has_failed = True
            raise
        reached_at = now()
        if self._has_failed:
            away = self._lease if self._reached_at is None else min(self._lease, reached_at - self._reached_at)
            self._held_until = max(self._held_until, reached_at + away)
            self._has_failed = False
        self._reached_at = reached_at

    @property
    def held_for(self) -> timedelta:
        return timedelta(seconds=max(0.0, self._held_until - now()))
