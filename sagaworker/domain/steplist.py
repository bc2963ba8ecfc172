"""Step lists: the forms that a caller may write, and the frozen form that the ledger keeps."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from sagaworker.domain.values import Json, checked_object
from sagaworker.errors import InvalidInput

STEP_NAME = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+(?::[A-Za-z_]\w*)?", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,99}", re.ASCII)
_ENTRY_KEYS = frozenset({"step", "id", "params", "depends_on"})


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEntry:
    """One entry of a step list: a step by its dotted name, with the id and params of this use of it."""

    step: str
    id: str | None = None
    params: Mapping[str, Json] = field(default_factory=dict)
    depends_on: tuple[str, ...] | None = None

    @property
    def short_name(self) -> str:
        """The name of a step that declares no NAME: the last word of its dotted name."""
        return short_name(self.step)

    @property
    def frozen(self) -> Json:
        """The JSON form in `saga_runs.step_modules`: plain text for an entry that is only a name."""
        if self.id is None and not self.params and self.depends_on is None:
            return self.step
        entry: dict[str, Json] = {"step": self.step}
        if self.id is not None:
            entry["id"] = self.id
        if self.params:
            entry["params"] = dict(self.params)
        if self.depends_on is not None:
            entry["depends_on"] = list(self.depends_on)
        return entry


def short_name(dotted: str) -> str:
    """The module's or the class's own name: `charge` of `shop.steps.charge`, `Charge` of `shop.steps:Charge`."""
    return dotted.rpartition(":")[2].rpartition(".")[2]


def thawed(frozen: Sequence[Json]) -> tuple[StepEntry, ...]:
    """Entries of a list that was checked when its saga started."""
    return tuple(
        StepEntry(step=item) if isinstance(item, str) else _entry_of(cast("dict[str, Json]", item)) for item in frozen
    )


def _entry_of(item: dict[str, Json]) -> StepEntry:
    depends_on = item.get("depends_on")
    return StepEntry(
        step=cast("str", item["step"]),
        id=cast("str | None", item.get("id")),
        params=cast("dict[str, Json]", item.get("params", {})),
        depends_on=None if depends_on is None else tuple(cast("list[str]", depends_on)),
    )


def parse(steps: object, *, most: int) -> tuple[StepEntry, ...]:
    """Check a caller's step list.

    Raises:
        InvalidInput: not a list, empty, longer than `most`, an entry that is neither a dotted name nor an object of
            step, id, params and depends_on, an id used twice, or a dependency on something that is not earlier.
    """
    if isinstance(steps, (str, bytes, Mapping)) or not isinstance(steps, Sequence):
        raise InvalidInput(f"step list must be a list of step names, got a {type(steps).__name__}")
    if not 1 <= len(steps) <= most:
        raise InvalidInput(f"step list must have between 1 and {most} steps, got {len(steps)}")
    entries = tuple(_parsed(item, idx) for idx, item in enumerate(steps))
    _check_ids(entries)
    return entries


def _parsed(item: object, idx: int) -> StepEntry:
    subject = f"step {idx}"
    if isinstance(item, str):
        return StepEntry(step=_name(item, subject))
    if not isinstance(item, Mapping):
        raise InvalidInput(f"{subject} must be a dotted name or an object, got a {type(item).__name__}")
    entry = checked_object(item, subject)
    if "saga" in entry:
        raise InvalidInput(f"{subject} must be a step, got a child saga", "child sagas are not part of this version")
    if "step" not in entry or entry.keys() - _ENTRY_KEYS:
        raise InvalidInput(
            f"{subject} must have the key step, and may have id, params, depends_on, got {sorted(entry)}"
        )
    params = entry.get("params", {})
    if not isinstance(params, dict):
        raise InvalidInput(f"params of {subject} must be an object, got a {type(params).__name__}")
    return StepEntry(
        step=_name(entry["step"], subject),
        id=_id(entry.get("id"), subject),
        params=params,
        depends_on=_depends_on(entry.get("depends_on"), subject),
    )


def _name(value: object, subject: str) -> str:
    if not isinstance(value, str) or len(value) > 200 or not STEP_NAME.fullmatch(value):  # noqa: PLR2004 - a line
        raise InvalidInput(
            f"{subject} must be a dotted module name like steps.echo or steps.shop:Refund, got {_quoted(value)}"
        )
    return value


def _id(value: object, subject: str) -> str | None:
    if value is not None and not (isinstance(value, str) and _ID.fullmatch(value)):
        raise InvalidInput(f"id of {subject} must be 1 to 100 letters, digits, '.', '_' or '-', got {_quoted(value)}")
    return value


def _depends_on(value: object, subject: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise InvalidInput(f"depends_on of {subject} must be a list of step ids, got {_quoted(value)}")
    return tuple(cast("list[str]", value))


def _check_ids(entries: Sequence[StepEntry]) -> None:
    seen: set[str] = set()
    for idx, entry in enumerate(entries):
        for name in entry.depends_on or ():
            if name not in seen:
                raise InvalidInput(
                    f"depends_on of step {idx} must name ids of earlier steps, got {name!r}",
                    f"ids before it: {', '.join(sorted(seen)) or 'none'}",
                )
        if entry.id is not None:
            if entry.id in seen:
                raise InvalidInput(f"id of step {idx} must be unique in its list, got {entry.id!r} again")
            seen.add(entry.id)


def _quoted(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else text[:77] + "..."  # noqa: PLR2004 - one line of a terminal
