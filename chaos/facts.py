"""The ledger's record, read without the engine in one snapshot: the oracle compares it with the world."""

from __future__ import annotations

from typing import Any

import psycopg

from chaos.oracle import Facts

_RUNS = "SELECT id::text, status::text, jsonb_array_length(step_modules) FROM saga_runs WHERE kind = %s"
_ROWS = """
SELECT l.saga_id::text, l.step_idx, l.status::text, l.attempts
FROM saga_step_results AS l JOIN saga_runs AS r ON r.id = l.saga_id WHERE r.kind = %s
"""
_EVENTS = """
SELECT e.saga_id::text, e.type, e.step_idx, (e.data ->> 'fence')::bigint
FROM saga_events AS e JOIN saga_runs AS r ON r.id = e.saga_id WHERE r.kind = %s ORDER BY e.saga_id, e.seq
"""


def facts(connection: psycopg.Connection[Any], kind: str) -> dict[str, Facts]:
    """All sagas of a kind, by id."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        runs = connection.execute(_RUNS, [kind]).fetchall()
        rows = _grouped(connection.execute(_ROWS, [kind]).fetchall())
        events = _grouped(connection.execute(_EVENTS, [kind]).fetchall())
    return {
        saga_id: Facts(
            status=status,
            step_count=count,
            rows={idx: (row, attempts) for idx, row, attempts in rows.get(saga_id, ())},
            events=events.get(saga_id, []),
        )
        for saga_id, status, count in runs
    }


def _grouped(rows: list[tuple[Any, ...]]) -> dict[str, list[Any]]:
    grouped: dict[str, list[Any]] = {}
    for saga_id, *rest in rows:
        grouped.setdefault(saga_id, []).append(tuple(rest))
    return grouped
