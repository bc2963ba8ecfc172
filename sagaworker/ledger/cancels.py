"""Cancels."""

from __future__ import annotations

import uuid
from typing import Any

from psycopg.rows import DictRow

from sagaworker.domain.status import RunStatus
from sagaworker.ledger.area import Area
from sagaworker.ledger.line import UNKNOWN
from sagaworker.ledger.session import Connection
from sagaworker.ledger.statements import execute, execute_locked, execute_one


class LedgerCancels(Area):
    """An accepted cancel is on record, and every one that was asked is in the journal."""

    def cancel(
        self, saga_id: str, reason: str | None, who: str | None = None, request: str | None = None
    ) -> tuple[RunStatus, bool] | None:
        """Ask for a cancel: (status after, whether it was only flagged), or None when the saga is not active.

        A saga that is asked again keeps its first reason, and its journal gets a row for each that asked.
        """
        parameters: dict[str, Any] = {
            "saga_id": saga_id,
            "reason": reason,
            "who": who,
            "request": request or str(uuid.uuid4()),
            "ring_after": self.periods.ring_after,
        }
        try:
            if request is not None:
                return self._cancelled(
                    self.database.again(lambda connection: self._cancel_again(connection, parameters))
                )
            with self.database.checkout() as connection:
                row = execute_locked(connection, "cancel", parameters)
        except UNKNOWN:
            row = self.database.again(lambda connection: self._cancel_again(connection, parameters))
        return self._cancelled(row)

    @staticmethod
    def _cancelled(row: DictRow | None) -> tuple[RunStatus, bool] | None:
        return None if row is None else (RunStatus(row["status"]), row["flag_only"])

    def _cancel_again(self, connection: Connection, parameters: dict[str, Any]) -> DictRow | None:
        """Send it again, unless it is on record. The lock waits for a first send that is still on its way."""
        with connection.transaction():
            execute(connection, "lock_run", parameters)
            landed = execute_one(connection, "operated", parameters)
            if landed is not None:
                return {**landed, "flag_only": landed["status"] in (RunStatus.PENDING, RunStatus.RUNNING)}
            return execute_one(connection, "cancel", parameters)
