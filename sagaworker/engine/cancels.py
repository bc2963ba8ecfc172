"""Cancelling sagas."""

from __future__ import annotations

from typing import Literal

from sagaworker.domain.options import checked_words
from sagaworker.domain.status import RunStatus
from sagaworker.engine.doorbells import EngineDoorbells

CancelAnswer = Literal["requested", "cancelled", "not_active"]


class EngineCancels(EngineDoorbells):
    """A cancel is an order to undo; an accepted one is never lost."""

    def cancel(
        self, saga_id: str, reason: str | None = None, who: str | None = None, *, request: str | None = None
    ) -> CancelAnswer:
        """Ask for a cancel. An accepted cancel never ends `completed`. The journal keeps who asked and why, each time.

        "cancelled": nothing had begun, the saga is over. "requested": the running step finishes, then all steps are undone.
        "not_active": the saga is terminal or already undoing; nothing changed. With `request`, an id of the caller's own,
        the same request again does nothing and has the same answer.
        """
        saga_id = self.id_of(saga_id, to_move=True)
        for name, text in (("reason", reason), ("who", who), ("request", request)):
            if text is not None:
                checked_words(text, name)
        answer = self.ledger.cancel(saga_id, reason, who or None, request)
        if answer is None:
            self._must_exist(saga_id)
            return "not_active"
        status, is_flag = answer
        if status is RunStatus.ROLLED_BACK:
            return "cancelled"
        if not is_flag:
            self.ring(saga_id)
        return "requested"
