"""A move that somebody asks for: made under the lock of the saga, and made once, even if its answer is lost.

Every such move writes the id of its request into its journal row. If an acknowledgement was lost, or the same id is asked
for a second time, the id is looked up before the move is sent again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from psycopg.rows import DictRow

from sagaworker.ledger.database import Database
from sagaworker.ledger.line import UNKNOWN
from sagaworker.ledger.session import Connection
from sagaworker.ledger.statements import execute_one


class Answer(NamedTuple):
    """The row of the move; if the move `has_landed` before, the row from the journal."""

    row: DictRow
    has_landed: bool


def _nothing(_locked: DictRow | None) -> None:
    pass


def requested(
    database: Database,
    name: str,
    parameters: dict[str, Any],
    *,
    was_sent: bool,
    check: Callable[[DictRow | None], None] = _nothing,
) -> Answer | None:
    """Run the move once; None if it does not apply. `parameters` has the saga_id and the id of the `request`.

    `was_sent`: the same request may have been sent before. `check` gets the locked run, and may raise.
    """
    try:
        with database.checkout() as connection:
            return _sent(connection, name, parameters, was_sent=was_sent, check=check)
    except UNKNOWN:
        return database.again(lambda own: _sent(own, name, parameters, was_sent=True, check=check))


def _sent(
    connection: Connection,
    name: str,
    parameters: dict[str, Any],
    *,
    was_sent: bool,
    check: Callable[[DictRow | None], None],
) -> Answer | None:
    with connection.transaction():
        # The lock waits for a first send that is still on its way.
        locked = execute_one(connection, "lock_run", parameters)
        landed = execute_one(connection, "operated", parameters) if was_sent else None
        if landed is not None:
            return Answer(landed, has_landed=True)
        check(locked)
        row = execute_one(connection, name, parameters)
    return None if row is None else Answer(row, has_landed=False)
