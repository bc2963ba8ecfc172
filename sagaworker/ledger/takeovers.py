"""Takeovers, and notes about sagas that cannot be run now."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg
from psycopg.rows import DictRow

from sagaworker.domain.records import Doorbell
from sagaworker.domain.status import RunStatus
from sagaworker.ledger.area import Area
from sagaworker.ledger.claim import Claim
from sagaworker.ledger.session import Connection
from sagaworker.ledger.statements import execute, execute_locked, execute_one


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphan:
    """An open episode that may be taken over, as read without locks."""

    saga_id: str
    fence: int
    kind: str
    actor_id: str | None
    recovery_policy: str | None
    status: RunStatus
    lease_until: str = ""  # as the database writes it: only given back to the database


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenOver:
    """One takeover that happened: its policy, and the doorbell to ring if the saga may run."""

    policy: str
    status: RunStatus
    doorbell: Doorbell | None


class LedgerTakeovers(Area):
    """Moves of others on a saga whose worker is gone, or that cannot be walked."""

    def owned(self, owner: str, connection: Connection) -> list[Orphan]:
        """Open episodes of one owner, read on a connection of the local witness."""
        return [orphan_of(row) for row in execute(connection, "owned", {"owner": owner})]

    def take_over(
        self,
        orphans: Sequence[tuple[Orphan, str]],
        *,
        witnessed: bool,
        has_spawned: bool = False,
        stale_after: timedelta = timedelta(0),
        connection: Connection | None = None,
    ) -> list[TakenOver]:
        """Take orphans over, each under its policy. Sagas that are no longer orphans are left out.

        The commit that applies the policy also raises the fence and closes the episode. So one of any number of sweepers
        takes an orphan over, and the old holder can write nothing any more.
        """
        if connection is None:
            return self.database.again(
                lambda own: self.take_over(
                    orphans, witnessed=witnessed, has_spawned=has_spawned, stale_after=stale_after, connection=own
                )
            )
        parameters: dict[str, Any] = {
            "saga_ids": [orphan.saga_id for orphan, _ in orphans],
            "fences": [orphan.fence for orphan, _ in orphans],
            "policies": [policy for _, policy in orphans],
            "witnessed": witnessed,
            "may_go_on": not witnessed or has_spawned,
            "stale_after": stale_after,
            "outcome": "died" if witnessed else "orphaned",
            "ring_after": self.periods.ring_after,
            "grace": self.periods.grace,
        }
        with connection.transaction():
            locked = execute(connection, "lock_orphans", parameters)
            if not locked:
                return []
            rows = execute(connection, "take_over", parameters | {"locked": [row["id"] for row in locked]})
        return [_taken_over(row) for row in rows]

    def take_over_own(self, claim: Claim) -> None:
        """Give up a claimed saga whose step was interrupted, and count that as if this process had died in the step."""
        orphan = Orphan(
            saga_id=claim.saga_id,
            fence=claim.fence,
            kind="",
            actor_id=None,
            recovery_policy=None,
            status=claim.position.status,
        )
        self.take_over([(orphan, "restart")], witnessed=True)

    def pass_over(self, saga_id: str, fence: int, reason: str, *, step: str | None = None, pace: bool = False) -> bool:
        """Journal why a saga cannot be run or recovered now, and who tried. Returns whether that made a new row.

        Further tries with no move in between update the row of the first try: its reason, tries and last_at. `step`: the
        step that could not be loaded. With `pace`, a due saga is not looked at again for five minutes. Nothing happens
        when the fence is stale.
        """
        row = self._noted(saga_id, fence, reason, step=step, pace=pace, importing=False)
        return row is not None and bool(row["is_new"])

    def importing(self, saga_id: str, fence: int, step: str) -> int:
        """Journal that a step is about to be imported, which may end this process. Returns how often that was noted in a row."""
        reason = f"step {step!r} must be importable, got an import that has not ended, or that ended its process"
        row = self._noted(saga_id, fence, reason, step=step, pace=False, importing=True)
        return 0 if row is None else int(row["imports"])

    def _noted(
        self, saga_id: str, fence: int, reason: str, *, step: str | None, pace: bool, importing: bool
    ) -> DictRow | None:
        parameters: dict[str, Any] = {
            "saga_id": saga_id,
            "fence": fence,
            "reason": reason.replace("\0", "")[:2000],
            "step": step,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "pace": pace,
            "importing": importing,
        }
        return self.database.again(lambda connection: execute_locked(connection, "pass_over", parameters))

    def identity(self, connection: Connection) -> str | None:
        """The identity of the ledger; None if it cannot be read."""
        try:
            row = execute_one(connection, "identity", {})
        except psycopg.Error:
            return None
        return None if row is None else str(row["id"])


def orphan_of(row: DictRow) -> Orphan:
    """The record of a row of expired.sql or owned.sql."""
    return Orphan(**{**row, "status": RunStatus(row["status"])})


def _taken_over(row: DictRow) -> TakenOver:
    status = RunStatus(row["status"])
    doorbell = {name: row[name] for name in ("saga_id", "kind", "key", "queue", "priority", "step_idx", "step_count")}
    may_run = not status.is_terminal and row["waiting_for"] is None
    bell = Doorbell(goes_first=True, **doorbell) if may_run else None
    return TakenOver(policy=row["policy"], status=status, doorbell=bell)
