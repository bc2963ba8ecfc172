"""How long this process takes nothing over, after it could not reach the database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from sagaworker.ledger.lease import now
from sagaworker.ledger.outage import OUTAGE


class Reach:
    """What one process saw of the database. After an absence it holds back for as long as that may have lasted.

    At most for a lease. A living holder beats four times a lease, so within a quarter of one it is heard again; and a
    lease that was extended just before an absence has three quarters left (docs/architecture.md, Held back).
    """

    def __init__(self, lease: timedelta) -> None:
        self._lease = lease.total_seconds()
        self._reached_at: float | None = None
        self._has_failed = False
        self._held_until = 0.0

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Around a statement: note that it reached the database, or that it did not."""
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
