"""What may be said of a run: one set of rules for a start and for a definition."""

from __future__ import annotations

from collections.abc import Sequence

from sagaworker.domain.values import checked_copy
from sagaworker.errors import InvalidInput

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
    """A queue's name. Brokers take blanks too, but a queue with one is a slip that no worker consumes.

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
