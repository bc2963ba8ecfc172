"""The cost of finished sagas for running ones: claim, step and sweep with many finished sagas, against 1,000.

INSERT ... SELECT makes the many: one saga of ten steps is run for real, and its rows in every table are copied under new
ids. So the copies have all columns as the engine writes them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from statistics import median

import psycopg
from psycopg import sql

from bench.ours import TRIVIAL, must_equal, opened
from bench.report import Report, Target, of_rounds
from bench.server import Server, say
from bench.steps import stamped
from sagaworker.engine import Engine

FEW = 1_000
STEPS = 10
TABLES = {"saga_runs": "id", "saga_step_results": "saga_id", "saga_events": "saga_id", "saga_episodes": "saga_id"}
BATCH = 50_000

# A uuid ordered by time, like the engine's, made from the number of the copy so that all tables agree on it.
COPY_ID = """(lpad(to_hex(1700000000000 + n * 10), 12, '0') || '7' || substr(md5(n::text), 1, 3)
    || '8' || substr(md5(n::text), 4, 15))::uuid"""


@dataclass(slots=True)
class Costs:
    """Milliseconds, one figure a round."""

    claim: list[float] = field(default_factory=list)
    step: list[float] = field(default_factory=list)
    sweep: list[float] = field(default_factory=list)
    ring: list[float] = field(default_factory=list)


def measure(server: Server, report: Report, *, many: int, rounds: int, sagas: int) -> None:
    """Two databases on the same server, one with few and one with many finished sagas, measured in turns."""
    section = f"with {many:,} finished sagas behind, against {FEW:,}"
    sides = []
    for name, count in (("few", FEW), ("many", many)):
        url = server.database(f"bench_{name}")
        engine = opened(url)
        _fill(engine, url, count)
        sides.append((engine, url, Costs()))
    for name in ("few", "many"):
        server.settle(f"bench_{name}")
    for engine, url, _ in sides:
        _round(engine, url, Costs(), sagas)
    for number in range(rounds):
        say(f"claim, step, sweep, round {number + 1} of {rounds}")
        for engine, url, costs in sides:
            _round(engine, url, costs, sagas)
    for engine, _, _ in sides:
        engine.close()
    few, behind = sides[0][2], sides[1][2]
    for what, name in (
        ("claim", "claim"),
        ("step", "step"),
        ("sweep that finds nothing", "sweep"),
        (f"sweep that rings {sagas}", "ring"),
    ):
        small, large = getattr(few, name), getattr(behind, name)
        report.add(
            [
                of_rounds(
                    section,
                    f"{what}, many / few",
                    [b / a for a, b in zip(small, large, strict=True)],
                    "×",
                    target=Target("at most", 1.2),
                    note=f"{median(large):.2f} ms against {median(small):.2f} ms",
                )
            ]
        )


def _round(engine: Engine, url: str, costs: Costs, sagas: int) -> None:
    claims: list[float] = []
    gaps: list[float] = []
    for _ in range(sagas):
        run = engine.start("bench", ["bench.steps.stamped"] * STEPS)
        stamped.entered.clear()
        began = time.perf_counter()
        must_equal(f"status of saga {run.id}", engine.run(run.id).status, "completed")
        claims.append(stamped.entered[0] - began)
        gaps += [after - before for before, after in zip(stamped.entered, stamped.entered[1:], strict=False)]
    costs.claim.append(median(claims) * 1000)
    costs.step.append(median(gaps) * 1000)
    costs.sweep.append(median(_swept(engine, expected=0) for _ in range(20)) * 1000)
    runs = [engine.start("bench", [TRIVIAL]) for _ in range(sagas)]
    rung: list[float] = []
    with psycopg.connect(url, autocommit=True) as connection:
        for _ in range(7):
            connection.execute(
                "UPDATE saga_runs SET wake_at = now() - interval '1 s' WHERE id = ANY(%s::uuid[])",
                ([str(run.id) for run in runs],),
            )
            rung.append(_swept(engine, expected=sagas))
    costs.ring.append(median(rung) * 1000)
    for run in runs:
        engine.run(run.id)


def _swept(engine: Engine, *, expected: int) -> float:
    began = time.perf_counter()
    result = engine.sweep()
    seconds = time.perf_counter() - began
    must_equal("doorbells rung by the sweep", result.rung, expected)
    return seconds


def _fill(engine: Engine, url: str, count: int) -> None:
    """Run one saga for real, then copy its rows `count` times. Copies skip triggers, not constraints or indexes."""
    template = engine.start("bench", [TRIVIAL] * STEPS)
    engine.run(template.id)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("SET synchronous_commit = off")
        for first in range(1, count + 1, BATCH):
            last = min(first + BATCH - 1, count)
            say(f"finished sagas: {last:,} of {count:,}")
            for table, id_column in TABLES.items():
                connection.execute(_copies(connection, table, id_column), (first, last, str(template.id)))
        found = connection.execute("SELECT count(*) FROM saga_runs WHERE status = 'completed'").fetchone()
        must_equal("finished sagas", found, (count + 1,))


def _copies(connection: psycopg.Connection, table: str, id_column: str) -> sql.Composed:
    """INSERT ... SELECT of one saga's rows, with all columns unchanged except the saga's id."""
    found = connection.execute(
        "SELECT column_name FROM information_schema.columns WHERE table_name = %s AND table_schema = 'public'"
        " AND is_generated = 'NEVER' AND identity_generation IS NULL ORDER BY ordinal_position",
        (table,),
    ).fetchall()
    columns = [name for (name,) in found]
    values = [sql.SQL(COPY_ID) if name == id_column else sql.Identifier("t", name) for name in columns]
    return sql.SQL(
        "INSERT INTO {table} ({columns}) SELECT {values} FROM generate_series(%s::bigint, %s::bigint) AS n"
        " CROSS JOIN {table} AS t WHERE t.{id} = %s::uuid"
    ).format(
        table=sql.Identifier(table),
        columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
        values=sql.SQL(", ").join(values),
        id=sql.Identifier(id_column),
    )
