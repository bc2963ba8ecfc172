"""Statement files that libpq runs by a prepared name, on connections of our own in autocommit.

A psycopg cursor spends some 25 us of Python on each statement: it looks the text up, chooses how to send each value, and
finds out anew what the columns are. For the statements of a walk all of that is known beforehand. Here values are sent
as text with the types named below, and read by the types of the columns.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache, lru_cache
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import psycopg
from psycopg import pq

from sagaworker.ledger.session import Connection
from sagaworker.ledger.statements import schema_of, sql

# Not public: with a psycopg that has them no more, everything runs with cursors.
_answers: Any = getattr(getattr(psycopg, "generators", None), "execute", None)
_error_of: Any = getattr(psycopg.errors, "error_from_result", None)
_TUPLES_OK = pq.ExecStatus.TUPLES_OK
IS_SUPPORTED = None not in (_answers, _error_of)

# The statements of a start and a walk. Others are rare, and their parameters may be of types that are not here.
FILES = frozenset(
    {"advance", "advance_plain", "claim", "claim_first", "complete", "complete_plain", "load", "start_one"}
)

_UUID, _TEXT, _BOOLEAN, _INTEGER, _BIGINT, _INTERVAL = 2950, 25, 16, 23, 20, 1186
_TYPES = {
    **dict.fromkeys(("saga_id", "owner"), _UUID),
    **dict.fromkeys(("fence", "seen_fence"), _BIGINT),
    **dict.fromkeys(("idx", "attempts", "pid"), _INTEGER),
    **dict.fromkeys(("undo_timeout", "next_timeout", "timeout", "lease", "grace", "ring_after"), _INTERVAL),
    **dict.fromkeys(("begin_next", "doubts"), _BOOLEAN),
}
_decoded = json.JSONDecoder().decode  # json.loads looks for the encoding of bytes first
# Sessions of ours write instants in ISO form.
_READ: dict[int, Callable[[bytes], Any]] = {
    _BOOLEAN: lambda value: value == b"t",
    _BIGINT: int,
    21: int,
    _INTEGER: int,
    _TEXT: bytes.decode,
    701: float,
    3802: lambda value: _decoded(value.decode()),  # jsonb
    1184: lambda value: datetime.fromisoformat(value.decode()),
}
Run: TypeAlias = Callable[[Connection, str, Mapping[str, Any]], list[dict[str, Any]]]
_Columns: TypeAlias = tuple[tuple[str, Callable[[bytes], Any]], ...]


class _Statement:
    """A statement file with numbered parameters: their names in that order, their types, and how its columns are read."""

    def __init__(self, file: str, schema: str) -> None:
        order: dict[str, int] = {}
        numbered = re.sub(
            r"%\((\w+)\)s", lambda found: f"${order.setdefault(found[1], len(order) + 1)}", sql(file, schema).decode()
        )
        self.text = numbered.replace("%%", "%").encode()
        self.order = tuple(order)
        self.types = tuple(_TYPES.get(name, _TEXT) for name in order)
        self.columns: _Columns = ()  # until its first result


_statement = cache(_Statement)


class _Names:
    """What is prepared on one connection: the names by file. No other session has the same names, also behind a pooler."""

    def __init__(self, schema: str) -> None:
        self.schema = schema
        self._prefix = f"sagaworker_{secrets.token_hex(4)}_"
        self.by_file: dict[str, bytes] = {}

    def new(self, file: str) -> bytes:
        return (self._prefix + file).encode()


_names: WeakKeyDictionary[Connection, _Names] = WeakKeyDictionary()


def runner(connection: Connection) -> Run | None:
    """What runs `FILES` on this connection: where failpoints are set, what they strike in. None: only cursors can."""
    return getattr(connection.cursor_factory, "run", run) if IS_SUPPORTED else None


def run(connection: Connection, file: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Run one of `FILES` and fetch its rows."""
    names = _names.get(connection)
    if names is None:
        names = _names[connection] = _Names(schema_of(connection))
    statement = _statement(file, names.schema)
    values = [_text(parameters[name]) for name in statement.order]
    result = _sent(connection, names, file, statement, values)
    if result.status != _TUPLES_OK:
        error = _error_of(result)
        if not isinstance(error, psycopg.errors.InvalidSqlStatementName):
            raise error
        # It was not run. Where psycopg rolls back, it deallocates all that is prepared in the session. Only this name is
        # known to be gone: others may have been prepared since, and are found out about when their turn comes.
        del names.by_file[file]
        result = _sent(connection, names, file, statement, values)
        if result.status != _TUPLES_OK:
            raise _error_of(result)
    if not statement.columns:
        statement.columns = _columns_of(result)
    return [_row(result, row, statement.columns) for row in range(result.ntuples)]


def _row(result: pq.abc.PGresult, row: int, columns: _Columns) -> dict[str, Any]:
    value = result.get_value
    return {
        name: None if (raw := value(row, place)) is None else read(raw) for place, (name, read) in enumerate(columns)
    }


def _sent(
    connection: Connection, names: _Names, file: str, statement: _Statement, values: Sequence[bytes | None]
) -> pq.abc.PGresult:
    name = names.by_file.get(file)
    pgconn = connection.pgconn
    if name is None:
        name = names.new(file)
        pgconn.send_prepare(name, statement.text, statement.types)
        prepared = connection.wait(_answers(pgconn))[-1]
        if prepared.status != pq.ExecStatus.COMMAND_OK:
            raise _error_of(prepared)
        names.by_file[file] = name
    pgconn.send_query_prepared(name, values)
    result: pq.abc.PGresult = connection.wait(_answers(pgconn))[-1]
    return result


def _columns_of(result: pq.abc.PGresult) -> _Columns:
    return tuple(((result.fname(place) or b"").decode(), _READ[result.ftype(place)]) for place in range(result.nfields))


def _text(value: object) -> bytes | None:
    write = _WRITE.get(type(value))
    if write is not None:
        return write(value)
    if isinstance(value, str):  # a status is one
        return _of_text(str.__str__(value))
    raise TypeError(f"a parameter must be text, a number, a boolean or a timedelta, got a {type(value).__name__}")


@lru_cache(maxsize=1024)
def _interval(value: timedelta) -> bytes:
    return b"%d d %d s %d us" % (value.days, value.seconds, value.microseconds)


def _of_text(value: str) -> bytes:
    """As psycopg: libpq would end the text at a NUL, without a word."""
    text = value.encode()
    if b"\0" in text:
        raise psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")
    return text


_WRITE: dict[type, Callable[[Any], bytes | None]] = {
    str: _of_text,
    int: b"%d".__mod__,
    bool: lambda value: b"t" if value else b"f",
    type(None): lambda value: value,
    timedelta: _interval,
}
