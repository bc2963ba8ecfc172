"""The audit: every invariant of docs/protocol.md, asked of a database in one snapshot.

One file of `sql/audit/` states one invariant in its first line and returns what breaks it; a sound ledger returns
nothing. Children and approvals (invariants 21, 22) will have theirs when they exist.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from importlib.resources import files
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from sagaworker.domain.records import Finding
from sagaworker.domain.values import canonical_hash
from sagaworker.ledger.connection import Connection, Database, schema_of
from sagaworker.ledger.names import qualified
from sagaworker.ledger.statements import AUDIT

MOST = 1000  # findings of one invariant: a ledger that is broken throughout must still be printable
FROZEN = 17

# It reads everything once: longer than a move may take, with room to hash and sort, in no reader's or writer's way.
_SESSION: tuple[LiteralString, ...] = (
    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
    "SET LOCAL statement_timeout = '30min'",
    "SET LOCAL work_mem = '64MB'",
    "SET LOCAL plan_cache_mode = force_custom_plan",
    "SET LOCAL enable_seqscan = on",
    "SET LOCAL enable_hashjoin = on",
    "SET LOCAL enable_mergejoin = on",
)
_FIRST_LINE = re.compile(rb"-- invariant (\d+): (.+)\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Invariant:
    """One invariant: its number in the protocol, its sentence, and the query that returns what breaks it."""

    number: int
    rule: str
    query: bytes


@cache
def invariants() -> tuple[Invariant, ...]:
    """All invariants the audit asks for, by number."""
    found = []
    for file in files("sagaworker.ledger").joinpath("sql", AUDIT).iterdir():
        query = file.read_bytes()
        first = _FIRST_LINE.match(query)
        if first is not None:
            found.append(Invariant(number=int(first[1]), rule=first[2].decode(), query=query))
    return tuple(sorted(found, key=lambda invariant: invariant.number))


def audit(database: Database, *, sweep_interval: timedelta, saga_ids: Sequence[str] | None = None) -> list[Finding]:
    """Check every invariant in one read-only snapshot; an empty list is a sound ledger.

    Without `saga_ids` it reads every row of the ledger, in time linear in their number, and blocks nobody. At most
    `MOST` findings of each invariant are returned. Invariants 18 and 19 say that nothing lies unattended for more than
    three sweeps: they hold while a sweep is running, and speak of an outage after one.
    """
    parameters = {
        "sweep_interval": sweep_interval,
        "saga_ids": None if saga_ids is None else list(saga_ids),
        "most": MOST,
    }
    # A connection of its own: one of the pool may have died with a server that was restarted.
    try:
        with database.connect() as connection, connection.transaction():
            for statement in _SESSION:
                connection.execute(statement)
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
    """Runs whose inputs no longer hash to what was recorded at the start; streams, so memory does not grow."""
    query = files("sagaworker.ledger").joinpath("sql", AUDIT, "inputs.sql").read_bytes()
    columns = sql.SQL("f.saga_id::text, f.inputs, f.inputs_hash")
    breaches: list[tuple[str, str]] = []
    with connection.cursor("audit_inputs", row_factory=tuple_row) as cursor:
        cursor.itersize = 1000
        cursor.execute(_limited(query, schema_of(connection), columns, parameters), parameters)
        for saga_id, inputs, inputs_hash in cursor:
            if canonical_hash(inputs) != inputs_hash and len(breaches) < MOST:
                breaches.append((saga_id, f"the inputs do not have the hash {inputs_hash} that was recorded"))
    return breaches


def _limited(query: bytes, schema: str, columns: sql.SQL, parameters: dict[str, Any]) -> sql.Composed:
    """The query with its columns as asked, for the given sagas only; PostgreSQL moves the condition inwards."""
    text = sql.SQL(qualified(query, schema).decode())  # pyright: ignore[reportArgumentType] - the text is a file of ours
    whole = sql.SQL("SELECT {} FROM (\n{}\n) AS f").format(columns, text)
    if parameters["saga_ids"] is None:
        return whole
    return whole + sql.SQL(" WHERE f.saga_id = ANY(%(saga_ids)s::uuid[])")
