"""A lease as its holder knows it: a local deadline, and what the last heartbeat learned."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

# Counts on while the machine is suspended, where the system has such a clock (Linux): a lease runs out there too.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
MARGIN = 0.1  # of the lease: how much earlier than the database the holder stops, for clocks that run apart


def now() -> float:
    """Seconds on a clock that only goes forward, and does not stand still while the machine sleeps."""
    return time.clock_gettime(_CLOCK)


@dataclass(slots=True)
class Lease:
    """One process's hold of one saga. Written by the heartbeat thread, read by the runner; each field by itself.

    The local deadline is counted on this machine's clock since its start (`now`) from the moment the extending statement was *sent*,
    so it always lies before the one the database wrote (Gray and Cheriton, Leases, 1989).
    """

    duration: timedelta
    sent_at: float = field(default_factory=now)
    is_fenced: bool = False
    cancel_requested: bool = False
    extended_until: float | None = None  # by this clock; after that no heartbeat extends it

    def extended(self, sent_at: float) -> None:
        """Note a heartbeat that the database acknowledged and that was sent at `sent_at`."""
        self.sent_at = sent_at

    @contextmanager
    def at_most(self, seconds: float) -> Iterator[None]:
        """Within: extended for so long and no longer. User code that hangs then loses its saga, whoever runs it."""
        self.extended_until = now() + seconds
        try:
            yield
        finally:
            self.extended_until = None

    @property
    def may_be_extended(self) -> bool:
        until = self.extended_until
        return until is None or now() < until

    @property
    def remaining(self) -> float:
        """Seconds until this process must begin nothing more; negative when that is past."""
        seconds = self.duration.total_seconds()
        return self.sent_at + seconds * (1 - MARGIN) - now()

    @property
    def is_lost(self) -> bool:
        return self.is_fenced or self.remaining <= 0
