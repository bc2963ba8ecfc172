"""One thread a process that extends every lease the process holds, and learns what was fenced or cancelled."""

from __future__ import annotations

import logging
import os
import threading

from sagaworker.ledger.claim import Claim
from sagaworker.ledger.lease import Lease, now
from sagaworker.ledger.ledger import Ledger
from sagaworker.ledger.line import UNKNOWN

log = logging.getLogger(__name__)

BEATS_PER_LEASE = 4  # three may be lost before the lease is


class Heartbeat:
    """Extends leases. The thread starts with the first claim and belongs to this process.

    Each beat borrows a connection from the pool, which opens another one where all are in use: a beat waits for nobody.
    It lives in the process whose work it vouches for, so it dies with it; a forked child starts its own.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._interval = ledger.periods.lease.total_seconds() / BEATS_PER_LEASE
        self._held: dict[tuple[str, int], Lease] = {}
        self._lock = threading.Lock()
        self._wanted = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

    def add(self, claim: Claim) -> None:
        """Vouch for this claim until `remove`."""
        with self._lock:
            if self._pid != os.getpid():
                raise RuntimeError("a heartbeat must be made anew after a fork, got the parent's")
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="sagaworker-heartbeat", daemon=True)
                thread.start()  # may be refused; then the next claim tries again
                self._thread = thread
            self._held[(claim.saga_id, claim.fence)] = claim.lease
            self._wanted.set()

    def remove(self, claim: Claim) -> None:
        """Stop vouching; the lease then runs out by itself unless the episode is closed."""
        with self._lock:
            self._held.pop((claim.saga_id, claim.fence), None)

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._closed.is_set():
            self._wanted.wait()
            if self._closed.wait(self._interval):
                break
            try:
                self._beat()
            except UNKNOWN as exc:
                log.warning("heartbeat failed, the leases run on: %s", exc)
            except Exception:
                # Whatever it is, the thread must live: without it every long step of this process becomes an orphan.
                log.exception("heartbeat failed")

    def _beat(self) -> None:
        with self._lock:
            if not self._held:
                self._wanted.clear()
                return
            held = {identity: lease for identity, lease in self._held.items() if lease.may_be_extended}
        if not held:
            return
        sent_at = now()
        still_held = self._ledger.database.again(lambda connection: self._ledger.extend(list(held), connection))
        for identity, lease in held.items():
            beat = still_held.get(identity)
            if beat is None:
                lease.is_fenced = True
                continue
            lease.cancel_requested = beat.cancel_requested
            if beat.is_extended:
                lease.extended(sent_at)
