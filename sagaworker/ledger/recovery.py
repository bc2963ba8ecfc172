"""The statements of the sweep: expired, stale and due sagas, and the sweepers' own state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from psycopg.rows import DictRow

from sagaworker.domain.records import Doorbell
from sagaworker.domain.recovery import Scope
from sagaworker.ledger.database import Database
from sagaworker.ledger.takeovers import Orphan, orphan_of

_FIRST = ("-infinity", "00000000-0000-0000-0000-000000000000")
_NO_DELAY = timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A saga that `wake` or `ring_due` would take now, as read without locks."""

    saga_id: str
    fence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """An active run whose status differs from its journal."""

    saga_id: str
    status: str
    waiting_for: str | None
    journal_status: str | None
    journal_waiting_for: str | None


class Sweeping:
    """Statements of the sweep. Reads lock nothing; each costs the same with any number of finished sagas."""

    def __init__(self, database: Database, *, ring_after: timedelta) -> None:
        self._database = database
        self._ring_after = ring_after

    def contact(self, *, gap: timedelta, lease: timedelta) -> timedelta:
        """Note that the database is reached. Returns how long takeovers are held back from now.

        Takeovers are held back from the first contact after a gap, or with a server that was started since the last
        contact. They are held back for as long as there was no contact, at most for a lease.
        """
        row = self._database.retried("contact", {"gap": gap, "lease": lease})[0]
        return timedelta(seconds=row["held_for"])

    def turn(self, scope: Scope, *, every: timedelta) -> bool:
        """Note that a sweep of the scope begins, unless one began less than `every` ago. Returns whether ours may begin."""
        return bool(self._database.retried("turn", {"name": scope.name, "every": every}))

    def is_overdue(self, scope: Scope, *, every: timedelta) -> bool:
        """Whether no sweep of the scope began within `every`. Writes nothing."""
        return bool(self._database.retried("overdue", {"name": scope.name, "every": every})[0]["is_overdue"])

    def expired(
        self,
        scope: Scope,
        *,
        stale_after: timedelta,
        limit: int,
        after: Orphan | None = None,
        saga_id: str | None = None,
    ) -> list[Orphan]:
        """Open episodes whose lease ran out at least `stale_after` ago, oldest first, only those behind `after`."""
        lease, last = (after.lease_until, after.saga_id) if after is not None else _FIRST
        parameters = {
            **scope.parameters,
            "stale_after": stale_after,
            "after_lease": lease,
            "after_id": last,
            "saga_id": saga_id,
            "limit": limit,
        }
        return [orphan_of(row) for row in self._database.retried("expired", parameters)]

    def stale(self, scope: Scope, *, stale_after: timedelta, limit: int) -> list[str]:
        """Ids of runs that a sweep with this `stale_after` would take over or ring."""
        parameters = {**scope.parameters, "stale_after": stale_after, "limit": limit}
        return [row["saga_id"] for row in self._database.retried("stale", parameters)]

    def due(self, scope: Scope, *, is_parked: bool, stale_after: timedelta, limit: int) -> list[Due]:
        """The sagas that `wake` (parked ones) or `ring_due` would take now."""
        parameters = {**scope.parameters, "is_parked": is_parked, "stale_after": stale_after, "limit": limit}
        return [Due(**row) for row in self._database.retried("due", parameters)]

    def wake(self, scope: Scope, *, limit: int, saga_ids: Sequence[str] | None = None) -> list[Doorbell]:
        """Let parked sagas whose time has come run again. The caller rings the returned doorbells."""
        return self._picked("wake", scope, limit=limit, saga_ids=saga_ids)

    def ring_due(
        self,
        scope: Scope,
        *,
        limit: int,
        stale_after: timedelta = _NO_DELAY,
        saga_ids: Sequence[str] | None = None,
    ) -> list[Doorbell]:
        """Pick runnable sagas whose doorbell seems lost, and pace the next ring. The caller rings the returned doorbells."""
        return self._picked("ring_due", scope, limit=limit, saga_ids=saga_ids, stale_after=stale_after)

    def not_rung(self, doorbells: Sequence[Doorbell]) -> None:
        """Reset the pace of rings that the broker did not take."""
        ids = [doorbell.saga_id for doorbell in doorbells]
        self._database.retried("not_rung", {"saga_ids": ids, "ring_after": self._ring_after})

    def mismatched(self, *, limit: int) -> list[Mismatch]:
        """Active runs whose status and journal differ (invariant 23, of the active ones alone)."""
        return [Mismatch(**row) for row in self._database.retried("mismatched", {"limit": limit})]

    def _picked(
        self,
        name: str,
        scope: Scope,
        *,
        limit: int,
        saga_ids: Sequence[str] | None,
        stale_after: timedelta = _NO_DELAY,
    ) -> list[Doorbell]:
        parameters = {
            **scope.parameters,
            "limit": limit,
            "saga_ids": None if saga_ids is None else list(saga_ids),
            "stale_after": stale_after,
            "ring_after": self._ring_after,
        }
        return [_doorbell(row) for row in self._database.retried(name, parameters)]


def _doorbell(row: DictRow) -> Doorbell:
    return Doorbell(**row)
