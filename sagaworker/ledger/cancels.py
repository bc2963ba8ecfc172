"""Cancels."""

from __future__ import annotations

import uuid
from typing import Any

from sagaworker.domain.status import RunStatus
from sagaworker.ledger.area import Area
from sagaworker.ledger.requested import requested


class LedgerCancels(Area):
    """An accepted cancel is on record, and every request for a cancel is in the journal."""

    def cancel(
        self, saga_id: str, reason: str | None, who: str | None = None, request: str | None = None
    ) -> tuple[RunStatus, bool] | None:
        """Ask for a cancel: (status after, whether the saga was only flagged), or None when the saga is not active.

        The saga keeps the first reason, and its journal gets a row for each request.
        """
        parameters: dict[str, Any] = {
            "saga_id": saga_id,
            "reason": reason,
            "who": who,
            "request": request or str(uuid.uuid4()),
            "ring_after": self.periods.ring_after,
        }
        answer = requested(self.database, "cancel", parameters, was_sent=request is not None)
        if answer is None:
            return None
        status = RunStatus(answer.row["status"])
        if answer.has_landed:
            return status, status in (RunStatus.PENDING, RunStatus.RUNNING)
        return status, answer.row["flag_only"]
