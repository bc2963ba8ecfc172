"""JSON values: checked, copied and measured once, where they enter.

PostgreSQL refuses NUL and lone surrogates in jsonb, JSON has no NaN, and a value that only fails when it is recorded
would leave a step in doubt. So every value is walked here first, and what comes out can be stored.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import TypeAlias, cast

from sagaworker.errors import InvalidInput

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None

MAX_DEPTH = 64
MAX_INT_BITS = 4096
MAX_SHOWN = 120  # two lines of a terminal
_COMPACT = json.JSONEncoder(separators=(",", ":"), allow_nan=False)  # json.dumps would make one for every value


def checked_copy(value: object, subject: str, _depth: int = 1) -> Json:
    """Return a deep copy made of plain JSON types (tuples become lists).

    Raises:
        InvalidInput: something in it is not JSON, not finite, nested deeper than 64 levels, or text that PostgreSQL
            cannot hold. `subject` opens the sentence and grows with the path: `inputs.card.number`.
    """
    match value:
        case None | bool():
            return value
        case str():
            return _text(value, subject)
        case int():
            if value.bit_length() > MAX_INT_BITS:
                raise InvalidInput(
                    f"{_short(subject)} must be an integer of at most {MAX_INT_BITS} bits, got a larger one"
                )
            return int(value)
        case float():
            if not math.isfinite(value):
                raise InvalidInput(f"{_short(subject)} must be a finite number, got {float(value)!r}")
            return float(value)
        case dict() | list() | tuple() | Mapping() if _depth > MAX_DEPTH:
            raise InvalidInput(f"{_short(subject)} must be nested at most {MAX_DEPTH} levels deep, got more")
        case dict() | Mapping():  # to know a dict is cheaper
            return _checked_items(value, subject, _depth)
        case list() | tuple():
            return [checked_copy(item, _within(subject, f"[{i}]"), _depth + 1) for i, item in enumerate(value)]
        case _:
            raise InvalidInput(
                f"{_short(subject)} must be JSON (null, boolean, number, text, list, object), got {_shown(value)}",
                "turn it into text or numbers first: str(...), .isoformat(), dataclasses.asdict(...)",
            )


def _checked_items(value: Mapping[object, object], subject: str, depth: int) -> dict[str, Json]:
    copy: dict[str, Json] = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise InvalidInput(f"{_short(subject)} must have text keys, got {_shown(key)}")
        name = _text(key, subject, "a key of ")
        copy[name] = checked_copy(item, _within(subject, f".{name}"), depth + 1)
    return copy


def checked_object(value: object, subject: str) -> dict[str, Json]:
    """`checked_copy` of something that must be an object."""
    if not isinstance(value, Mapping):
        raise InvalidInput(f"{subject} must be an object (a mapping of names to values), got {_shown(value)}")
    return cast("dict[str, Json]", checked_copy(value, subject))


def encoded(value: Json) -> str:
    """Compact JSON text; ASCII only, so its length is its size in bytes."""
    if type(value) is int:
        return int.__repr__(value)  # an encoder is made for all others but texts
    return _COMPACT.encode(value)


def canonical_hash(value: Json) -> str:
    """SHA-256 of the text with sorted keys: equal values, equal hash, before and after a stay in jsonb.

    jsonb keeps numbers as decimals: 1e22 comes back as an integer and -0.0 as 0.0, so whole floats are hashed as the
    integer that their shortest decimal text names.
    """
    text = json.dumps(_plain_numbers(value), separators=(",", ":"), allow_nan=False, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain_numbers(value: Json) -> Json:
    match value:
        case float():
            return int(Decimal(repr(value))) if value.is_integer() else value
        case list():
            return [_plain_numbers(item) for item in value]
        case dict():
            return {name: _plain_numbers(item) for name, item in value.items()}
        case _:
            return value


def copy(value: Json) -> Json:
    """A deep copy of a value that was checked before."""
    if isinstance(value, dict):
        return {key: copy(item) for key, item in value.items()}
    if isinstance(value, list):
        return [copy(item) for item in value]
    return value


def _text(value: str, subject: str, of: str = "") -> str:
    text = str.__str__(value)
    if "\x00" in text:
        raise InvalidInput(
            f"{of}{_short(subject)} cannot contain the character NUL: it has one at {text.index(chr(0))}"
        )
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise InvalidInput(
            f"{of}{_short(subject)} must be valid Unicode, got a lone surrogate at {exc.start}",
            "decode bytes with errors='replace'",
        ) from None
    return text


def _within(subject: str, place: str) -> str:
    """The path one level deeper; a path that is too long to be shown grows no more, or it would cost its square."""
    return subject + place if len(subject) <= MAX_SHOWN else subject


def _short(subject: str) -> str:
    """The path, printable and of bounded length: names inside it are the caller's text."""
    safe = subject[: MAX_SHOWN + 1].encode("ascii", "backslashreplace").decode().replace("\x00", "\\x00")
    return safe if len(safe) <= MAX_SHOWN else safe[: MAX_SHOWN - 3] + "..."


def _shown(value: object) -> str:
    kind = type(value)
    return f"a {kind.__module__}.{kind.__qualname__}" if kind.__module__ != "builtins" else f"a {kind.__qualname__}"
