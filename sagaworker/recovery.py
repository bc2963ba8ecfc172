"""What others left behind: the sweep takes expired episodes over and rings what waits for a lost doorbell."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta

from sagaworker.domain.records import Doorbell, SweepResult
from sagaworker.failpoints import Failpoints
from sagaworker.ledger.moves import Ledger, Orphan, TakenOver

log = logging.getLogger(__name__)

BATCH = 200  # takeovers in one transaction, so that no lock is held long
ROUNDS = 10  # batches in one sweep: after a mass death the rest is for the next tick
RINGS = 1000  # doorbells one tick rings at most

Ring = Callable[[Sequence[Doorbell]], None]
NO_DELAY = timedelta(0)
COUNTED = {"restart": "restarted", "fail": "failed", "compensate": "compensated", "hold": "held"}


class Recovery:
    """Any number of processes may run these at once: each orphan is taken over once, the others count it as skipped."""

    def __init__(self, ledger: Ledger, ring: Ring, failpoints: Failpoints) -> None:
        self._ledger = ledger
        self._ring = ring
        self._failpoints = failpoints

    def sweep(self, *, stale_after: timedelta = NO_DELAY) -> SweepResult:
        """Take over every open episode whose lease ran out `stale_after` ago, each under its policy, and ring.

        Never runs a step. Bounded: what does not fit into one tick is for the next one.
        """
        counts: Counter[str] = Counter()
        for _ in range(ROUNDS):
            orphans = self._ledger.expired(stale_after=stale_after, limit=BATCH)
            if not orphans:
                break
            self._failpoints.hit("take_over.before")
            taken = self._ledger.take_over(
                [(orphan, _policy(orphan)) for orphan in orphans], witnessed=False, stale_after=stale_after
            )
            self._failpoints.hit("take_over.after")
            self._finish(taken, counts)
            counts["skipped"] += len(orphans) - len(taken)
            if len(orphans) < BATCH:
                break
        counts["rung"] = self.ring_due()
        return SweepResult(**counts)

    def ring_due(self) -> int:
        """Wake parked sagas whose time has come and ring all that are runnable and due; how many."""
        doorbells = self._ledger.wake(limit=RINGS)
        doorbells += self._ledger.ring_due(limit=RINGS)
        if doorbells:
            self._ring(doorbells)
        return len(doorbells)

    def take_over_dead(self, owner: str) -> int:
        """The local witness: take over all that a process which is known to be dead still holds; how many.

        Uses one connection of its own, closed at once, so that none is open across a fork.
        """
        counts: Counter[str] = Counter()
        with self._ledger.database.connect(connect_timeout=2) as connection:
            orphans = self._ledger.owned(owner, connection)
            if not orphans:
                return 0
            policies = [(orphan, _policy(orphan)) for orphan in orphans]
            taken = self._ledger.take_over(policies, witnessed=True, connection=connection)
        self._finish(taken, counts)
        return len(taken)

    def _finish(self, taken: Sequence[TakenOver], counts: Counter[str]) -> None:
        counts.update(COUNTED[one.policy] for one in taken)
        doorbells = [one.doorbell for one in taken if one.doorbell is not None]
        if doorbells:
            self._ring(doorbells)


def _policy(orphan: Orphan) -> str:
    """The policy the run recorded at start; without any, a person must look."""
    return orphan.recovery_policy or "fail"
