"""Failpoints at the driver: every move of every maker passes here, and real connections are cut.

Used only when failpoints are set, which takes the test switch; otherwise connections have psycopg's own cursor.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from functools import cache
from typing import Any, Self

import psycopg
from psycopg.pq import TransactionStatus

from sagaworker.failpoints import MOVES, Action, Failpoints
from sagaworker.ledger import prepared
from sagaworker.ledger.session import Connection
from sagaworker.ledger.statements import schema_of, sql

# The statement files behind a point where they are called otherwise.
_SHORT_FORMS = ("advance_plain", "claim_first", "complete_plain")
_FILES = {
    "advance": ("advance", "advance_plain", "complete", "complete_plain"),
    "claim": ("claim", "claim_first"),
    "start": ("start", "start_one"),
    "witness": ("owned",),
}


_MOVES = {file: move for move in MOVES for file in _FILES.get(move, (move,))}


@cache
def _points(schema: str) -> dict[bytes, str]:
    return {sql(file, schema): move for file, move in _MOVES.items()}


def cursor_class(failpoints: Failpoints) -> type[psycopg.Cursor[Any]]:
    """A cursor that is hurt at the moves, as set in `failpoints`."""

    class FaultyCursor(psycopg.Cursor[Any]):
        is_hurt_by_failpoints = True

        def execute(self, query: Any, params: Any = None, **options: Any) -> Self:
            move = _points(schema_of(self.connection)).get(query) if isinstance(query, bytes) else None
            if move is None:
                return super().execute(query, params, **options)
            strike_before(failpoints, move, params.get("idx"), self.connection)
            super().execute(query, params, **options)
            if not _was_left_to_the_long_form(self, query):
                strike_after(failpoints, move, params.get("idx"), self.connection)
            return self

        @staticmethod
        def run(connection: Connection, file: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
            """The same for what is run by a prepared name."""
            move = _MOVES.get(file)
            if move is None:
                return prepared.run(connection, file, parameters)
            strike_before(failpoints, move, parameters.get("idx"), connection)
            rows = prepared.run(connection, file, parameters)
            if rows or file not in _SHORT_FORMS:
                strike_after(failpoints, move, parameters.get("idx"), connection)
            return rows

    return FaultyCursor


def strike_before(failpoints: Failpoints, move: str, idx: int | None, connection: psycopg.Connection[Any]) -> None:
    """Do what is set for the point before this move, which is about to be sent."""
    fault = failpoints.due(f"{move}.before", idx)
    match failpoints.done(fault) if fault is not None else None:
        case Action.RAISE:
            raise psycopg.OperationalError(f"failpoint: {move} was not sent")
        case Action.DROP:
            _cut(connection)  # psycopg finds out by itself


def strike_after(failpoints: Failpoints, move: str, idx: int | None, connection: psycopg.Connection[Any]) -> None:
    """Do what is set for the point after this move, which has landed."""
    fault = failpoints.due(f"{move}.after", idx)
    if fault is None:
        return
    if connection.pgconn.transaction_status == TransactionStatus.INTRANS:
        connection.pgconn.exec_(b"COMMIT")  # after means that the move is on record
    match failpoints.done(fault):
        case Action.RAISE:
            raise psycopg.OperationalError(f"failpoint: {move} landed")
        case Action.DROP:
            _cut(connection)
            raise psycopg.OperationalError(f"failpoint: {move} landed and the line was cut")


def _was_left_to_the_long_form(cursor: psycopg.Cursor[Any], query: bytes) -> bool:
    """Whether this was a short form that changed nothing: after its move comes after the long form."""
    return cursor.rowcount == 0 and query in {sql(name, schema_of(cursor.connection)) for name in _SHORT_FORMS}


def _cut(connection: psycopg.Connection[Any]) -> None:
    with socket.socket(fileno=socket.dup(connection.pgconn.socket)) as line:
        line.shutdown(socket.SHUT_RDWR)
