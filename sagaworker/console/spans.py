"""When each attempt of each step ran, read from the journal. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sagaworker.domain.records import JournalEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One attempt of a step or of its undo. `end` is None while the attempt goes on; `how` is the journal type that ended it."""

    step_idx: int
    what: Literal["execute", "undo"]
    begin: datetime
    end: datetime | None = None
    how: str = ""


def spans(journal: Iterable[JournalEntry]) -> list[Span]:
    """All attempts in the order they began.

    A saga does one thing at a time, so every journal entry about an attempt ends the open one.
    """
    found: list[Span] = []
    for entry in journal:
        if entry.type in ("step.noted", "saga.started", "saga.woken", "saga.cancel_requested"):
            continue
        if found and found[-1].end is None:
            opened = found.pop()
            found.append(
                Span(
                    step_idx=opened.step_idx,
                    what=opened.what,
                    begin=opened.begin,
                    end=entry.created_at,
                    how=_how(entry),
                )
            )
        found.extend(_opened(entry))
    return found


def _how(entry: JournalEntry) -> str:
    return str(entry.data.get("outcome", "")) if entry.type == "saga.taken_over" else entry.type.rpartition(".")[2]


def _opened(entry: JournalEntry) -> Iterator[Span]:
    """The attempt that the same move began, if any."""
    idx, data, at = entry.step_idx, entry.data, entry.created_at
    if idx is None:
        return
    if entry.type == "step.begun" or (entry.type == "saga.claimed" and data.get("begun")):
        yield Span(step_idx=idx, what="execute", begin=at)
    elif entry.type == "step.completed" and data.get("begun_next"):
        yield Span(step_idx=idx + 1, what="execute", begin=at)
    elif data.get("status") == "compensating" and data.get("waiting_for") is None:
        undone = {
            "saga.claimed": idx,
            "undo.retried": idx,
            "step.completed": idx,
            "step.failed": data.get("compensate_from_idx"),
        }.get(entry.type, data.get("next_undo_idx"))
        if undone is not None and entry.type not in ("saga.taken_over", "saga.yielded", "saga.parked"):
            yield Span(step_idx=int(undone), what="undo", begin=at)
