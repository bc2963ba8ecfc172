"""Which runs a list is of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sagaworker.domain.status import RunStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """A page of runs, checked: what they have in common, where the page begins, how long it is.

    `after`: the id of the last run of the page before. It costs the same however far back it lies; `offset` counts
    rows, so a deep one reads all that it leaves out.
    """

    statuses: tuple[RunStatus, ...] = ()
    kind: str | None = None
    actor_id: str | None = None
    key: str | None = None
    conversation_id: str | None = None
    exclude_archived: bool = False
    needs_person: bool | None = None
    since: datetime | timedelta | None = None
    after: str | None = None
    limit: int = 50
    offset: int = 0
    descending: bool = True
