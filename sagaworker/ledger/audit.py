"""The audit: every invariant of docs/protocol.md, asked of a database in one snapshot.

Each file of `sql/audit/` states one invariant in its first line and returns the breaches; a sound ledger returns no rows.
Children and approvals (invariants 21, 22) will have their files when they exist.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from sagaworker.domain.records import Finding
from sagaworker.domain.values import canonical_hash
from sagaworker.ledger.database import Database
from sagaworker.ledger.names import qualified
from sagaworker.ledger.session import Connection
from sagaworker.ledger.statements import AUDIT, schema_of

MOST = 1000  # findings of one invariant: a ledger with very many breaches must still be printable
FROZEN = 17

# The audit reads all rows once. It may take longer than a move and has room to hash and sort; it blocks nobody.
_SESSION: tuple[LiteralString, ...] = (
    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
    "SET LOCAL statement_timeout = '30min'",
    "SET LOCAL work_mem = '64MB'",
    "SET LOCAL plan_cache_mode = force_custom_plan",
    "SET LOCAL enable_seqscan = on",
    "SET LOCAL enable_hashjoin = on",
    "SET LOCAL enable_mergejoin = on",
)
# The column of each table that names the saga, to read the rows of some sagas only.
_SAGA_ID = {
    b"saga_runs": b"id",
    b"saga_step_results": b"saga_id",
    b"saga_events": b"saga_id",
    b"saga_episodes": b"saga_id",
}
_ROWS = b"%b AS NOT MATERIALIZED (SELECT t.* FROM %b AS t WHERE t.%b = ANY(%%(saga_ids)s::uuid[]))"
_EVERY_RUN = b"every_run AS (SELECT r.id, r.kind, r.key, r.source_env, r.archived_at FROM saga_runs AS r)"
_FIRST_LINE = re.compile(rb"-- invariant (\d+): (.+)\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Invariant:
    """One invariant: its number in the protocol, its sentence, and the query that returns its breaches."""

    number: int
    rule: str
    query: bytes


@cache
def invariants() -> tuple[Invariant, ...]:
    """All invariants that the audit checks, by number."""
    found = []
    for file in files("sagaworker.ledger").joinpath("sql", AUDIT).iterdir():
        query = file.read_bytes()
        first = _FIRST_LINE.match(query)
        if first is not None:
            found.append(Invariant(number=int(first[1]), rule=first[2].decode(), query=query))
    return tuple(sorted(found, key=lambda invariant: invariant.number))


def audit(
    database: Database,
    *,
    sweep_interval: timedelta,
    since: datetime | timedelta | None = None,
    saga_ids: Sequence[str] | None = None,
) -> list[Finding]:
    """Check every invariant in one read-only snapshot; an empty list is a sound ledger.

    It reads every row of the ledger, in time linear in their number, and blocks nobody. With `saga_ids` it reads the rows
    of those sagas only. With `since`, an instant or an age, it reads the rows of sagas that are not over or ended since.
    At most `MOST` findings of each invariant are returned. Invariants 18 and 19 say that no saga is left alone for more
    than three sweeps: they hold while sweeps run, and are broken for a time after an outage.
    """
    parameters: dict[str, Any] = {"sweep_interval": sweep_interval, "most": MOST}
    # A connection of its own: a pooled connection may have died with a server that was restarted.
    try:
        with database.connect() as connection, connection.transaction():
            for statement in _SESSION:
                connection.execute(statement)
            parameters["saga_ids"] = saga_ids if since is None else _moved_since(connection, since)
            return [finding for invariant in invariants() for finding in _findings(connection, invariant, parameters)]
    except psycopg.Error as exc:
        database.refuse_older(exc)
        raise


def _findings(connection: Connection, invariant: Invariant, parameters: dict[str, Any]) -> Iterator[Finding]:
    columns = sql.SQL("f.saga_id::text, f.detail")
    query = _limited(invariant.query, schema_of(connection), columns, parameters) + sql.SQL(" LIMIT %(most)s")
    with connection.cursor(row_factory=tuple_row) as cursor:
        breaches = cursor.execute(query, parameters).fetchall()
    if invariant.number == FROZEN:
        breaches += _rehashed(connection, parameters)
    for saga_id, detail in breaches[:MOST]:
        yield Finding(invariant=invariant.number, rule=invariant.rule, saga_id=saga_id, detail=detail)


def _rehashed(connection: Connection, parameters: dict[str, Any]) -> list[tuple[str, str]]:
    """Runs whose inputs no longer have the hash recorded at the start. Streams rows, so memory does not grow."""
    columns = sql.SQL("f.saga_id::text, f.inputs, f.inputs_hash")
    breaches: list[tuple[str, str]] = []
    with connection.cursor("audit_inputs", row_factory=tuple_row) as cursor:
        cursor.itersize = 1000
        cursor.execute(_limited(_file("inputs"), schema_of(connection), columns, parameters), parameters)
        for saga_id, inputs, inputs_hash in cursor:
            if canonical_hash(inputs) != inputs_hash and len(breaches) < MOST:
                breaches.append((saga_id, f"the inputs do not have the hash {inputs_hash} that was recorded"))
    return breaches


def _moved_since(connection: Connection, since: datetime | timedelta) -> list[str]:
    """Ids of sagas that are not over, or ended since."""
    query = qualified(_file("since"), schema_of(connection))
    is_age = isinstance(since, timedelta)
    parameters = {"age": since if is_age else None, "instant": None if is_age else since}
    with connection.cursor(row_factory=tuple_row) as cursor:
        return [saga_id for (saga_id,) in cursor.execute(query, parameters)]


def _file(name: str) -> bytes:
    return files("sagaworker.ledger").joinpath("sql", "audit", f"{name}.sql").read_bytes()


def _limited(query: bytes, schema: str, columns: sql.SQL, parameters: dict[str, Any]) -> sql.Composed:
    """The query with these columns. For some sagas only, each table name in it stands for those sagas' rows of the table.

    So every row is found by its saga's id. A condition around the whole query would not reach into its aggregates.
    """
    tables = [qualified(_EVERY_RUN, schema)]
    if parameters["saga_ids"] is None:
        query = qualified(query, schema)
    else:
        tables += [qualified(_ROWS % (table, table, id), schema) for table, id in _SAGA_ID.items()]
    whole = sql.SQL("WITH {} SELECT {} FROM (\n{}\n) AS f")
    return whole.format(_text(b", ".join(tables)), columns, _text(query))


def _text(statement: bytes) -> sql.SQL:
    return sql.SQL(statement.decode())  # pyright: ignore[reportArgumentType] - the text is a file of ours
