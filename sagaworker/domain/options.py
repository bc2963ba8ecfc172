"""The rules for a run's options and texts, the same in a start, a definition and the journal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sagaworker.domain.values import Json, checked_copy, checked_object
from sagaworker.errors import InvalidInput

MAX_WORDS = 2000
MAX_NAME = 200
MAX_RECOVERIES = 1_000_000
HIGHEST_PRIORITY = 9


def checked_text(value: object, name: str, most: int) -> str:
    """Printable text of at most so many characters.

    Raises:
        InvalidInput: it is something else.
    """
    if not isinstance(value, str) or not 1 <= len(value) <= most or not value.isprintable():
        raise InvalidInput(f"{name} must be 1 to {most} printable characters, got {ascii(value)[:80]}")
    checked_copy(value, name)
    return value


def checked_queue(value: object, name: str) -> str:
    """A queue's name. Brokers accept blanks too, but no worker consumes a queue that has one by mistake.

    Raises:
        InvalidInput: it is something else.
    """
    text = checked_text(value, name, MAX_NAME)
    if any(character.isspace() for character in text):
        raise InvalidInput(f"{name} must be a queue's name without blanks, got {ascii(text)[:80]}")
    return text


def checked_word(value: object, name: str, legal: Sequence[str]) -> str:
    """One of the legal words.

    Raises:
        InvalidInput: it is something else.
    """
    if not isinstance(value, str) or value not in legal:
        raise InvalidInput(f"{name} must be one of {', '.join(legal)}, got {ascii(value)[:80]}")
    return str(value)


def checked_integer(value: object, name: str, least: int, most: int) -> int:
    """A whole number within bounds.

    Raises:
        InvalidInput: it is something else.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidInput(f"{name} must be a whole number from {least} to {most}, got {ascii(value)[:80]}")
    return value


def checked_words(text: object, name: str) -> str:
    """A person's words for the journal: any text that can be stored, of a reasonable length."""
    if not isinstance(text, str) or "\x00" in text or len(text) > MAX_WORDS:
        raise InvalidInput(f"{name} must be text of at most {MAX_WORDS} characters, got {text!r:.80}")
    checked_copy(text, name)
    return text


def checked_note(value: Mapping[str, Any], name: str, most: int) -> dict[str, Json]:
    """A copy of a JSON object for a ledger row, of at most so many bytes."""
    note: dict[str, Json] = checked_object(value, name)
    size = len(json.dumps(note))
    if size > most:
        raise InvalidInput(f"{name} must be at most {most} bytes of JSON, got {size}")
    return note
