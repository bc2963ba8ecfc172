"""Every statement of the ledger reads a few rows through an index, whether its tables are empty or full of finished sagas.

The plans are those the server really used, told by auto_explain on the engine's own connections.
"""

from __future__ import annotations

import json
import re
from importlib.resources import files

import psycopg
import pytest
import sqlalchemy as sa

from sagaworker.domain import walk
from sagaworker.domain.status import StepStatus, WaitingFor
from sagaworker.engine import Engine
from sagaworker.ledger.connection import sql
from sagaworker.settings import Settings
from tests.holding import TIMEOUT, advance, claimed, expire

FINISHED = 100_000
TABLES = {"saga_runs", "saga_step_results", "saga_events", "episodes"}
STATEMENTS = sorted(file.name.removesuffix(".sql") for file in files("sagaworker.ledger").joinpath("sql").iterdir())
STATEMENTS.remove("audit")
ERROR = {"kind": "X", "message": "x"}

FILL = (
    """
    INSERT INTO saga_runs (
      id, kind, key, status, step_modules, inputs, inputs_hash, context, fence, seq, started_at, completed_at
    )
    SELECT
      gen_random_uuid(), 'finished', n::text, CASE WHEN mod(n, 10) = 0 THEN 'rolled_back' ELSE 'completed' END,
      '["steps.echo"]', '{}', '', '{}', 1, 3, now(), now()
    FROM generate_series(1, %s) AS n
    """,
    """
    INSERT INTO saga_step_results (saga_id, step_idx, step_name, status, output, attempts, fence, completed_at)
    SELECT id, 0, 'echo', 'completed', '{}', 1, 1, now() FROM saga_runs WHERE kind = 'finished'
    """,
    """
    INSERT INTO episodes (saga_id, fence, owner, host, pid, lease_until, ended_at, outcome)
    SELECT id, 1, gen_random_uuid(), 'h', 1, now(), now(), 'completed' FROM saga_runs WHERE kind = 'finished'
    """,
    """
    INSERT INTO saga_events (saga_id, seq, type, data)
    SELECT id, n, 'saga.started', '{}' FROM saga_runs, generate_series(1, 3) AS n WHERE kind = 'finished'
    """,
)


@pytest.fixture
def explained(database_url):
    """The database's sessions tell the plan of each statement in a notice."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        name = psycopg.sql.Identifier(connection.info.dbname)
        for setting, value in (
            ("session_preload_libraries", "auto_explain"),
            ("auto_explain.log_min_duration", "0"),
            ("auto_explain.log_format", "json"),
            ("auto_explain.log_analyze", "on"),
            ("auto_explain.log_level", "notice"),
        ):
            statement = psycopg.sql.SQL("ALTER DATABASE {} SET " + setting + " = {}")
            connection.execute(statement.format(name, psycopg.sql.Literal(value)))
    return database_url


class Plans:
    """The plans that an engine's connections were told of, by the file of the statement."""

    def __init__(self, engine):
        self.found = {}
        self._names = {_plain(sql(name).decode()): name for name in STATEMENTS}
        sa.event.listen(engine.database.engine, "connect", lambda driver, _record: self.listen(driver))

    def listen(self, driver):
        driver.add_notice_handler(self._note)

    def _note(self, notice):
        _, _, told = (notice.message_primary or "").partition("plan:\n")
        if not told:
            return
        plan = json.loads(told)
        name = self._names.get(_plain(plan["Query Text"]))
        if name is not None:
            self.found.setdefault(name, []).append(plan["Plan"])


def _plain(text):
    """A statement without its parameters' names and numbers."""
    return re.sub(r"%\(\w+\)s|\$\d+", "?", text)


def nodes(plan):
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def fill(url):
    with psycopg.connect(url) as connection:
        for number, statement in enumerate(FILL):
            connection.execute(statement, (FINISHED,) if number == 0 else None)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")


def use_all(engine, plans):
    """Every statement once, on a handful of sagas."""
    steps = ["steps.echo"] * 3
    # Forward to the end, with a checkpoint, a heartbeat and a claim that begins anew.
    run = engine.start("t", steps, key="k")
    engine.start("t", steps, key="k")
    hold = claimed(engine, run.id)
    engine.upsert_step_result(run.id, 0, fence=hold.fence, output=1)
    with engine.database.connect() as connection:
        plans.listen(connection)
        engine.ledger.extend([(run.id, hold.fence)], connection)
        engine.ledger.owned(engine.owner, connection)
    hold.retry(walk.Retry(delay=0.0, error=ERROR, doubted=True), park=False, undo_timeout=TIMEOUT)
    hold.begin(TIMEOUT)
    advance(hold)
    hold.yield_()
    hold.close()
    hold = claimed(engine, run.id)
    hold.outputs()
    hold.park(WaitingFor.QUARANTINE, 0.0)
    hold.close()
    engine.ring_due()
    hold = claimed(engine, run.id)
    advance(hold)
    advance(hold, last=True)
    hold.close()
    engine.get(run.id)
    # Backward, an orphan, a cancel.
    run = engine.start("t", steps)
    hold = claimed(engine, run.id)
    advance(hold)
    hold.fail(walk.Fail(reason="x", error_class="step_failed", undo_self=False), undo_timeout=TIMEOUT)
    hold.compensated(walk.RecordUndo(result=StepStatus.COMPENSATED), attempted=True, undo_timeout=TIMEOUT)
    hold.close()
    run = engine.start("t", steps)
    claimed(engine, run.id).close()
    expire(engine, run.id)
    engine.sweep()
    engine.cancel(run.id)
    engine.cancel(run.id)


# Moves of people and of a worker's start: one saga by its id, or once a start; not driven here.
OF_PEOPLE = {
    "absent",
    "clock",
    "contact",
    "define",
    "defined",
    "due",
    "hold",
    "mismatched",
    "operated",
    "overdue",
    "pass_over",
    "release",
    "reopen",
    "resolve_absent",
    "resolve_happened",
    "retry_step",
    "retry_undo",
    "skip_step",
    "skip_undo",
    "stale",
    "turn",
}


@pytest.mark.parametrize("finished", [0, FINISHED])
def test_every_statement_reads_through_indexes_only(explained, finished):
    settings = Settings.from_env({}, database_url=explained, sweep_interval=0.1)
    if finished:
        fill(explained)
    with Engine(settings) as engine:
        plans = Plans(engine)
        use_all(engine, plans)
        if finished:
            engine.run(engine.list(kind="finished", limit=1)[0].id)
    assert set(STATEMENTS) - set(plans.found) - OF_PEOPLE == set()
    scans = {
        (name, node["Node Type"], node["Relation Name"])
        for name, found in plans.found.items()
        for plan in found
        for node in nodes(plan)
        if node.get("Relation Name") in TABLES and "Scan" in node["Node Type"]
    }
    assert {scan for scan in scans if "Index" not in scan[1] and "Bitmap" not in scan[1]} == set()
    rows = {name: max(sum(map(touched, nodes(plan))) for plan in found) for name, found in plans.found.items()}
    assert {name: count for name, count in rows.items() if count > 50} == {}


def touched(node):
    """Rows of the ledger's tables that a node looked at, those it threw away again included."""
    if node.get("Relation Name") not in TABLES:
        return 0
    removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return (node["Actual Rows"] + removed) * node["Actual Loops"]


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_is_short_enough_for_psycopg_to_remember_how_it_reads(name):
    # 4,096 bytes; the sweep's is long, and runs once a tick for many sagas.
    if name != "take_over":
        assert len(sql(name)) < 4096
