"""Find the saga's id by any name that we print: `checkout[order-42]`, `checkout[fa4bb9]`, the beginning of an id."""

from __future__ import annotations

import re
import uuid

from sagaworker.errors import InvalidInput
from sagaworker.ledger.reads import Reads

# A printed label, such as Flower's: `checkout[order-42] 3/7 charge_card`.
_LABEL = re.compile(r"(?P<kind>[^\[]+)\[(?P<rest>.*)\](?: \d+/\d+(?: .*)?)?", re.DOTALL)
_LEAST = 4  # least characters of the beginning of an id
_PATTERN = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"
_SHOWN = 5  # candidates that a refusal lists


class Finder:
    """Finds the one saga that a name means. A whole id costs no query."""

    def __init__(self, reads: Reads, source_env: str | None) -> None:
        self._reads = reads
        self._source_env = source_env

    def id_of(self, name: object, *, to_move: bool = False) -> str:
        """The id of that saga. A whole id is taken as it is, whether such a run exists or not.

        `to_move`: for a move that changes the saga. A short name then names no saga of another environment: where
        production has no order 42, a cancel there must not reach staging's.

        Raises:
            InvalidInput: not a name, or the name of no saga, or of several (the message lists them); with `to_move`
                also the name of a saga of another environment.
        """
        text = name if isinstance(name, str) else str(name)
        try:
            return str(uuid.UUID(text))
        except ValueError:
            pass
        label = _LABEL.fullmatch(text)
        if label is not None:
            found = self._reads.ids_of_label(
                label["kind"], label["rest"], source_env=self._source_env, limit=_SHOWN + 1
            )
        elif _is_beginning(text):
            found = self._reads.ids_of_beginning(text, limit=_SHOWN + 1)
        else:
            raise InvalidInput(
                f"saga id must be a uuid, got {text[:80]!a}",
                "or its first letters, kind[key], or kind[the id's last six]; list them: sagaworker list",
            )
        if len(found) > 1:
            listed = ", ".join(one.id for one in found[:_SHOWN]) + (", ..." if len(found) > _SHOWN else "")
            raise InvalidInput(f"saga {text[:200]!a} must name one run, got several", f"say which: {listed}")
        if not found:
            raise InvalidInput(
                f"saga {text[:200]} cannot be found: no run has this name", "list the runs: sagaworker list"
            )
        (one,) = found
        if to_move and one.source_env != self._source_env:
            raise InvalidInput(
                f"saga {text[:200]!a} must be of source_env {self._source_env!r} to be changed by that name,"
                f" got one of {one.source_env!r}",
                f"if it is the one you mean, give its whole id: {one.id}",
            )
        return one.id


def _is_beginning(text: str) -> bool:
    """Whether an id can begin like this, with its dashes in their places or without dashes."""
    digits = text.lower()
    if len(digits) < _LEAST:
        return False
    with_dashes = all(
        (have in "0123456789abcdef") if want == "x" else have == want
        for have, want in zip(digits, _PATTERN, strict=False)
    )
    bare = all(have in "0123456789abcdef" for have in digits)
    return (with_dashes and len(digits) < len(_PATTERN)) or (bare and len(digits) < _PATTERN.count("x"))


def checked_id(saga_id: object) -> str:
    """The canonical text of a saga id.

    Raises:
        InvalidInput: it is not a uuid.
    """
    try:
        return str(uuid.UUID(saga_id if isinstance(saga_id, str) else str(saga_id)))
    except ValueError:
        raise InvalidInput(f"saga id must be a uuid, got {str(saga_id)[:80]!a}", "list ids: sagaworker list") from None
