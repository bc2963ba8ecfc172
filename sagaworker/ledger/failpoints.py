"""Failpoints at the driver: every move passes here, whoever makes it, and real connections are cut.

Used only when failpoints are set, which takes the test switch; otherwise connections have psycopg's own cursor.
"""

from __future__ import annotations

import socket
from functools import cache
from typing import Any, Self

import psycopg
from psycopg.pq import TransactionStatus

from sagaworker.failpoints import MOVES, Action, Failpoints
from sagaworker.ledger.connection import schema_of, sql

# The statement files behind a point where they are called otherwise.
_FILES = {"advance": ("advance", "complete"), "witness": ("owned",)}


@cache
def _points(schema: str) -> dict[bytes, str]:
    return {sql(file, schema): move for move in MOVES for file in _FILES.get(move, (move,))}


def cursor_class(failpoints: Failpoints) -> type[psycopg.Cursor[Any]]:
    """A cursor that is hurt at the moves, as set in `failpoints`."""

    class FaultyCursor(psycopg.Cursor[Any]):
        is_hurt_by_failpoints = True

        def execute(self, query: Any, params: Any = None, **options: Any) -> Self:
            move = _points(schema_of(self.connection)).get(query) if isinstance(query, bytes) else None
            if move is None:
                return super().execute(query, params, **options)
            idx = params.get("idx")
            match self._fault(f"{move}.before", idx):
                case Action.RAISE:
                    raise psycopg.OperationalError(f"failpoint: {move} was not sent")
                case Action.DROP:
                    _cut(self.connection)  # psycopg finds out by itself
            super().execute(query, params, **options)
            match self._fault(f"{move}.after", idx):
                case Action.RAISE:
                    raise psycopg.OperationalError(f"failpoint: {move} landed")
                case Action.DROP:
                    _cut(self.connection)
                    raise psycopg.OperationalError(f"failpoint: {move} landed and the line was cut")
            return self

        def _fault(self, point: str, idx: int | None) -> Action | None:
            fault = failpoints.due(point, idx)
            if fault is None:
                return None
            pgconn = self.connection.pgconn
            if point.endswith(".after") and pgconn.transaction_status == TransactionStatus.INTRANS:
                pgconn.exec_(b"COMMIT")  # after means that the move is on record
            return failpoints.done(fault)

    return FaultyCursor


def _cut(connection: psycopg.Connection[Any]) -> None:
    with socket.socket(fileno=socket.dup(connection.pgconn.socket)) as line:
        line.shutdown(socket.SHUT_RDWR)
