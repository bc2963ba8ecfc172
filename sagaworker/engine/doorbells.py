"""How the engine rings, and which ledger it rings for."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace

from sagaworker.domain.records import Doorbell
from sagaworker.engine.reads import EngineReads
from sagaworker.ledger.outage import REFUSAL, reason

log = logging.getLogger(__name__)

ASKED_EVERY = 60.0  # seconds for which a ledger's identity is remembered, or the failure to read it


class EngineDoorbells(EngineReads):
    """Doorbells, best effort: the ledger has the sagas, and the sweep rings for those that were not rung."""

    _ledger_id: str | None = None
    _ask_ledger_at = 0.0

    def ring(self, saga_id: str) -> None:
        """Send the doorbell of one saga, best effort. An extra bell is harmless, and the sweep rings for a missing one."""
        run = self.get(self.id_of(saga_id, to_move=True))
        if not run.status.is_terminal:
            self.ring_all([Doorbell.of(run)])

    def ring_all(self, doorbells: Sequence[Doorbell]) -> bool:
        """Send doorbells, best effort: where sending fails, the sweep rings. Returns whether it worked."""
        if self._ring is None or not doorbells:
            return True
        try:
            self._ring(
                [bell if bell.ledger is not None else replace(bell, ledger=self.ledger_id) for bell in doorbells]
            )
        except Exception as exc:  # noqa: BLE001 - whatever the broker does, the sagas are stored
            log.warning("doorbells not rung: %d; the sweep will ring them: %s", len(doorbells), exc)
            return False
        return True

    @property
    def ledger_id(self) -> str | None:
        """The identity of the ledger, made by `migrate`; asked for once a minute. None while it has never been read."""
        if time.monotonic() >= self._ask_ledger_at:
            self._ask_ledger_at = time.monotonic() + ASKED_EVERY
            try:
                self._ledger_id = self.reads.identity()
            except REFUSAL as exc:
                log.debug("the ledger's identity is not known: %s", reason(exc))
        return self._ledger_id

    def ledger_id_now(self) -> str | None:
        """The same, but read now: the URL may lead to another database by now."""
        self._ask_ledger_at = 0.0
        return self.ledger_id
