"""Check the filters of a list: statuses, a page, and since when."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from sagaworker.domain.options import checked_integer
from sagaworker.domain.status import RunStatus
from sagaworker.errors import InvalidInput

STATUSES = tuple(status.value for status in RunStatus)
MAX_PAGE = 1000
MAX_OFFSET = 2**63 - 1  # a bigint
LONGEST = timedelta(days=36_525)  # PostgreSQL's instants do not reach further back
_AGO = re.compile(r"(?P<number>\d{1,12}(?:\.\d{1,6})?)\s*(?P<unit>s|m|min|h|d|w)")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}


def checked_statuses(status: str | Sequence[str] | None) -> list[RunStatus]:
    """The statuses of a filter; an empty one means all.

    Raises:
        InvalidInput: one of them is no status.
    """
    wanted = [status] if isinstance(status, str) else [*(status or ())]
    unknown = [one for one in wanted if one not in STATUSES]
    if unknown:
        raise InvalidInput(f"status must be one of {', '.join(STATUSES)}, got {unknown[0]!r}")
    return [RunStatus(one) for one in wanted]


def checked_page(limit: int, offset: int, order: str) -> None:
    """Refuse a page that cannot be read."""
    if order not in ("asc", "desc"):
        raise InvalidInput(f"order must be asc or desc, got {order!r}")
    checked_integer(limit, "limit", 1, MAX_PAGE)
    checked_integer(offset, "offset", 0, MAX_OFFSET)


def checked_since(since: object) -> datetime | timedelta | None:
    """The least age or the earliest instant of a filter: an aware datetime, or how long ago.

    Raises:
        InvalidInput: it is neither, or more than 100 years ago.
    """
    match since:
        case None:
            return None
        case str() if found := _AGO.fullmatch(since.strip()):
            age: object = float(found["number"]) * _SECONDS[found["unit"]]
        case str():
            try:
                age = datetime.fromisoformat(since.strip().removesuffix(" UTC") + "+00:00" * since.endswith(" UTC"))
            except ValueError:
                age = None
        case _:
            age = since
    if isinstance(age, datetime) and age.tzinfo is not None:
        return age
    if isinstance(age, (int, float)) and not isinstance(age, bool) and 0 <= age <= LONGEST.total_seconds():
        return timedelta(seconds=age)
    if isinstance(age, timedelta) and timedelta(0) <= age <= LONGEST:
        return age
    raise InvalidInput(
        f"since must be an instant with its offset or how long ago, at most 100 years, got {ascii(since)[:80]}",
        "for example 2h, 3d, 2031-05-04T17:00:00+02:00",
    )
