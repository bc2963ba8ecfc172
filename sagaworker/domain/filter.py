"""The filter of a list of runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sagaworker.domain.status import RunStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """A page of runs, checked: the conditions on the runs, the beginning and the length of the page.

    `after`: the id of the last run of the page before. It costs the same however far back the run lies. `offset` counts
    rows, so a deep `offset` reads all rows that it leaves out.
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
