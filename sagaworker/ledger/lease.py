"""A lease as its holder knows it: a local deadline, and the answer of the last heartbeat."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta

# On Linux this clock goes on while the machine is suspended, because the lease runs out meanwhile too.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
MARGIN = 0.1  # share of the lease by which the holder stops before the database's deadline, for clocks that run apart


def now() -> float:
    """Seconds on a clock that only goes forward, also while the machine sleeps."""
    return time.clock_gettime(_CLOCK)


@dataclass(slots=True)
class Lease:
    """One process's hold of one saga. The heartbeat thread writes and the runner reads, one field at a time.

    The local deadline counts on this machine's clock (`now`) from the moment the extending statement was *sent*, so it
    always lies before the deadline that the database wrote (Gray and Cheriton, Leases, 1989).
    """

    duration: timedelta
    sent_at: float = field(default_factory=now)
    is_fenced: bool = False
    cancel_requested: bool = False
    extended_until: float | None = None  # by this clock; after this time no heartbeat extends the lease
    _holds: float = field(init=False)  # seconds since it was sent

    def __post_init__(self) -> None:
        self._holds = self.duration.total_seconds() * (1 - MARGIN)

    def extended(self, sent_at: float) -> None:
        """Note a heartbeat that was sent at `sent_at` and acknowledged by the database."""
        self.sent_at = sent_at

    def at_most(self, seconds: float) -> AbstractContextManager[None]:
        """Within: heartbeats extend the lease for so long and no longer. User code that hangs then loses its saga."""
        return _Extended(self, now() + seconds)

    @property
    def may_be_extended(self) -> bool:
        until = self.extended_until
        return until is None or now() < until

    @property
    def remaining(self) -> float:
        """Seconds until this process must begin nothing more; negative after that time."""
        return self.sent_at + self._holds - now()

    @property
    def is_lost(self) -> bool:
        return self.is_fenced or self.remaining <= 0


class _Extended(AbstractContextManager[None]):
    """A class and no generator: it is entered at each step."""

    __slots__ = ("_lease", "_until")

    def __init__(self, lease: Lease, until: float) -> None:
        self._lease = lease
        self._until = until

    def __enter__(self) -> None:
        self._lease.extended_until = self._until

    def __exit__(self, *_: object) -> None:
        self._lease.extended_until = None
