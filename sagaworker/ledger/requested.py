"""A move that somebody asks for: under the lock of the saga, and once, whatever is lost on the way.

Every such move writes the id of its request into its journal row. So a move whose acknowledgement was lost, or that is asked
for a second time under the same id, is looked up before it is sent again.
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
    """The row of the move; or, where it `has_landed` before, what the journal says of it."""

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
    """Run the move once; None where it does not apply. `parameters` has the saga_id and the id of the `request`.

    `was_sent`: somebody may have sent the same request before. `check` sees the locked run, and may raise.
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
