"""The statement files and how to run them: one move or read each, in the folder of `sql/` named after its capability."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import psycopg
from psycopg.adapt import AdaptersMap
from psycopg.postgres import register_default_adapters, register_default_types
from psycopg.rows import DictRow, dict_row
from psycopg.types import TypesRegistry
from psycopg.types.json import set_json_dumps, set_json_loads

from sagaworker.ledger.names import qualified
from sagaworker.ledger.session import Connection

_Result = TypeVar("_Result")


AUDIT = "audit"  # queries of the audit, no moves: `ledger/audit.py` reads them


@cache
def statement_files() -> dict[str, Traversable]:
    """Each file by its name, which no two files share: `{"advance": sql/episodes/advance.sql, ...}`."""
    found: dict[str, Traversable] = {}
    for folder in files("sagaworker.ledger").joinpath("sql").iterdir():
        if folder.name == AUDIT or not folder.is_dir():
            continue
        for file in folder.iterdir():
            name = file.name.removesuffix(".sql")
            assert name not in found, f"two files are named {file.name}"
            found[name] = file
    return found


# The ledger's schema for each connection: our own connections, and callers' connections that we have joined.
_schemas: WeakKeyDictionary[Connection, str] = WeakKeyDictionary()


@cache
def sql(name: str, schema: str = "") -> bytes:
    """The text of the statement file of that name without comments and indentation, its tables in `schema`.

    psycopg caches parsed queries only up to 4,096 bytes; parsing a longer one each time costs a third of a move.
    """
    text = statement_files()[name].read_text()
    lines = (line.strip() for line in text.splitlines())
    statement = " ".join(line for line in lines if line and not line.startswith("--")).encode()
    return qualified(statement, schema) if schema else statement


def use_schema(connection: Connection, schema: str) -> None:
    """Make statement files run on this connection in that schema, whatever its search_path is."""
    _schemas[connection] = schema


def has_schema(connection: Connection) -> bool:
    """Whether `use_schema` set a schema."""
    return connection in _schemas


def schema_of(connection: Connection) -> str:
    """The schema that `use_schema` set, or "": the search_path decides."""
    return _schemas.get(connection, "")


def _adapters() -> AdaptersMap:
    """Psycopg's own adapters, whatever the application has registered on its connections or for all connections."""
    types = TypesRegistry()
    register_default_types(types)
    ours = AdaptersMap(types=types)
    register_default_adapters(ours)
    set_json_loads(json.loads, ours)
    set_json_dumps(json.dumps, ours)
    return ours


_ADAPTERS = _adapters()


def _cursor(connection: Connection) -> psycopg.Cursor[DictRow]:
    """A plain cursor: a caller's connection may make another kind (ClientCursor, RawCursor).

    Where failpoints are set, the cursor that carries them out.
    """
    kind = connection.cursor_factory
    chosen: type[psycopg.Cursor[Any]] = kind if getattr(kind, "is_hurt_by_failpoints", False) else psycopg.Cursor
    return adapted(chosen(connection, row_factory=dict_row))


def adapted(cursor: psycopg.Cursor[_Result]) -> psycopg.Cursor[_Result]:
    """The cursor with our adapters. psycopg copies the connection's adapters and has no public way to set others."""
    cursor._adapters = _ADAPTERS  # noqa: SLF001
    return cursor


def _is_binary(connection: Connection) -> bool:
    """Whether psycopg cannot read this session's text form of instants or intervals: then they are fetched in binary."""
    known = connection.info.parameter_status
    return not (known("DateStyle") or "").startswith("ISO") or known("IntervalStyle") != "postgres"


def execute(connection: Connection, name: str, parameters: dict[str, Any]) -> list[DictRow]:
    """Run one statement file, prepared, and fetch its rows."""
    with _cursor(connection) as cursor:
        return cursor.execute(
            sql(name, schema_of(connection)), parameters, prepare=True, binary=_is_binary(connection)
        ).fetchall()


def execute_one(connection: Connection, name: str, parameters: dict[str, Any]) -> DictRow | None:
    """Run one statement file, prepared, and fetch its only row, or None."""
    with _cursor(connection) as cursor:
        return cursor.execute(
            sql(name, schema_of(connection)), parameters, prepare=True, binary=_is_binary(connection)
        ).fetchone()


def execute_locked(connection: Connection, name: str, parameters: dict[str, Any]) -> DictRow | None:
    """Lock the saga row, then run the move on a fresh snapshot, in one transaction (docs/protocol.md, rule 11)."""
    with connection.transaction():
        execute(connection, "lock_run", parameters)
        return execute_one(connection, name, parameters)
