"""Detect a pooler in transaction mode at first contact, and refuse it."""

from __future__ import annotations

import contextlib
import select
import time

import psycopg
from psycopg.rows import tuple_row

from sagaworker.ledger.session import Connection, connect, is_shared

# Probes for a pooler: number of other connections, turns with each, seconds to wait for a server.
_OTHERS, _TURNS, _FOR_A_SERVER = 2, 10, 2.0


def is_ours_alone(connection: Connection, parameters: dict[str, str]) -> bool:
    """Whether no other connection gets this connection's server between its statements; False: not known yet.

    A pooler in transaction mode lends the server that came back last, or each in turn, or any under load. While two
    connections ask by turns, one of them gets the server that the other had. Two other connections are tried, because a
    pooler of several processes has idle servers in each.

    Raises:
        SessionRefused: other connections get the server.
    """
    mine = _backend(connection)
    if connection.info.backend_pid == mine:
        return True  # no pooler: the server's process is the one named when we connected
    for _ in range(_OTHERS):
        try:
            other = connect(psycopg.Connection, parameters)
        except psycopg.OperationalError:
            return False  # the pooler takes no more connections
        with contextlib.closing(other):
            for _ in range(_TURNS):
                theirs = _backend_soon(other)
                if theirs == mine or _backend(connection) != mine:
                    raise is_shared()
                if theirs is None:
                    return False
    return True


def _backend(connection: Connection) -> int:
    with psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
        row = cursor.execute("SELECT pg_catalog.pg_backend_pid()", prepare=False).fetchone()
    assert row is not None
    return int(row[0])


def _backend_soon(connection: Connection) -> int | None:
    """The connection's server, or None where no server is free: a pooler in session mode would let us wait for a long time."""
    until = time.monotonic() + _FOR_A_SERVER
    asked = connection.pgconn
    asked.send_query(b"SELECT pg_catalog.pg_backend_pid()")
    asked.flush()
    answer = select.poll()
    answer.register(asked.socket, select.POLLIN)
    while asked.is_busy():
        if not answer.poll(max(0.0, until - time.monotonic()) * 1000):
            return None
        asked.consume_input()
    result = asked.get_result()
    value = None if result is None else result.get_value(0, 0)
    while result is not None:
        result = asked.get_result()
    return None if value is None else int(value)
