"""Every statement of the ledger reads a few rows through an index, whether its tables are empty or full of finished sagas.

The plans are those the server really used, told by auto_explain on the engine's own connections.
"""

from __future__ import annotations

import json
import re
import uuid
from datetime import timedelta

import psycopg
import pytest
import sqlalchemy as sa

from sagaworker.domain import walk
from sagaworker.domain.definition import Definition
from sagaworker.domain.records import Doorbell
from sagaworker.domain.status import StepStatus, WaitingFor
from sagaworker.engine import Engine
from sagaworker.ledger.definitions import DefinitionStore
from sagaworker.ledger.operators import Order
from sagaworker.ledger.statements import execute, sql, statement_files
from sagaworker.settings import Settings
from tests.holding import TIMEOUT, advance, claimed, expire
from tests.ledger.varied import KINDS, SCOPE, Sagas

FINISHED = 100_000
HOUR = timedelta(hours=1)
MOST = 100  # rows that a statement may look at, however many sagas are finished or active
TABLES = {"saga_runs", "saga_step_results", "saga_events", "saga_episodes"}
STATEMENTS = sorted(statement_files())
ERROR = {"kind": "X", "message": "x"}

FILL = (
    """
    INSERT INTO saga_runs (
      id, kind, key, conversation_id, status, step_modules, inputs, inputs_hash, context, fence, seq, inserted_at, started_at,
      completed_at
    )
    SELECT
      (lpad(to_hex((extract(epoch FROM now() - interval '9 days') * 1000)::bigint + n), 12, '0') || '7'
        || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid,
      'finished', CASE WHEN mod(n, 2) = 0 THEN n::text END, n::text,
      CASE WHEN mod(n, 10) = 0 THEN 'rolled_back' ELSE 'completed' END,
      '["steps.echo"]', '{}', '', '{}', 1, 3, now() - interval '9 days', now() - interval '9 days',
      now() - interval '9 days'
    FROM generate_series(1, %s) AS n
    """,
    """
    INSERT INTO saga_step_results (saga_id, step_idx, step_name, status, output, attempts, fence, completed_at)
    SELECT id, 0, 'echo', 'completed', '{}', 1, 1, now() FROM saga_runs WHERE kind = 'finished'
    """,
    """
    INSERT INTO saga_episodes (saga_id, fence, owner, host, pid, lease_until, ended_at, outcome)
    SELECT id, 1, gen_random_uuid(), 'h', 1, now(), now(), 'completed' FROM saga_runs WHERE kind = 'finished'
    """,
    """
    INSERT INTO saga_events (saga_id, seq, type, data)
    SELECT id, n, 'saga.started', '{}' FROM saga_runs, generate_series(1, 3) AS n WHERE kind = 'finished'
    """,
)

# Sagas that others hold, or that wait: all active, none of them due.
BACKLOG = 900
CROWD = (
    """
    INSERT INTO saga_runs (id, kind, status, waiting_for, wake_at, step_modules, inputs, inputs_hash, fence, seq)
    SELECT
      gen_random_uuid(), 'crowd', CASE WHEN mod(n, 3) = 0 THEN 'pending' ELSE 'running' END,
      CASE WHEN mod(n, 3) = 1 THEN 'retry' END, CASE WHEN mod(n, 3) < 2 THEN now() + interval '1 day' END,
      '["steps.echo"]', '{}', '', 1, 1
    FROM generate_series(1, %s) AS n
    """,
    """
    INSERT INTO saga_step_results (saga_id, step_idx, step_name, status, fence)
    SELECT id, 0, 'echo', 'pending', 1 FROM saga_runs WHERE kind = 'crowd'
    """,
    """
    INSERT INTO saga_episodes (saga_id, fence, owner, host, pid, lease_until)
    SELECT id, 1, gen_random_uuid(), 'h', 1, now() + interval '1 day' FROM saga_runs
    WHERE kind = 'crowd' AND wake_at IS NULL
    """,
    """
    INSERT INTO saga_events (saga_id, seq, type, data)
    SELECT id, 1, 'saga.started', jsonb_build_object('status', status, 'waiting_for', waiting_for)
    FROM saga_runs WHERE kind = 'crowd'
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
        self._names = {_plain(sql(name, "public").decode()): name for name in STATEMENTS}
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


def fill(url, statements, count):
    with psycopg.connect(url) as connection, psycopg.ClientCursor(connection) as cursor:
        for number, statement in enumerate(statements):
            cursor.execute(statement, (count,) if number == 0 else None)


def analyse(url):
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")


def use_all(engine, plans):
    """The statements of workers and of the sweep, on a handful of sagas."""
    steps = ["steps.echo"] * 3
    # Forward to the end, with a checkpoint, a heartbeat and a claim that begins anew.
    key = str(uuid.uuid4())
    run = engine.start("t", steps, key=key)
    engine.start("t", steps, key=key)
    hold = claimed(engine, run.id)
    engine.upsert_step_result(run.id, 0, fence=hold.fence, output=1)
    with engine.database.connect() as connection:
        plans.listen(connection)
        engine.ledger.extend([(run.id, hold.fence)], connection)
        engine.ledger.owned(engine.owner, connection)
    hold.doubted_itself()
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
    engine.run(engine.start_many([{"kind": "t", "steps": steps}] * 2)[0])
    engine.run(engine.start("t", steps))
    # The long forms of advance and complete, after a cancel.
    for last in (False, True):
        run = engine.start("t", steps)
        hold = claimed(engine, run.id)
        engine.cancel(run.id)
        advance(hold, last=last)
        hold.compensated(walk.RecordUndo(result=StepStatus.COMPENSATED), attempted=True, undo_timeout=TIMEOUT)
        hold.close()
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


def use_what_people_and_recovery_do(engine):
    """The statements of operators, of a worker's start and of the sweep, on one saga of every kind."""
    # What is left over is not due, nor in the way of the same keys again.
    fill(
        engine.settings.database_url, ["UPDATE saga_runs SET key = NULL, wake_at = wake_at + %s * interval '1 day'"], 1
    )
    sagas = Sagas(engine.database)
    ids = {kind: make(sagas) for kind, make in KINDS.items()}
    operating = engine.operating

    def order(saga_id):
        return Order(saga_id=saga_id, who="ann", reason="asked")

    def doubted():
        saga_id, _ = sagas.begun()
        sagas.orphan(saga_id, "restart", witnessed=True)
        return saga_id, sagas.claim(saga_id)

    def asking():
        saga_id, hold = doubted()
        hold.park(WaitingFor.OPERATOR, None)
        return order(saga_id)

    def halted():
        return order(KINDS["halted"](sagas))

    def cursor(kind):
        return engine.get(ids[kind]).current_step_idx

    landed = [
        operating.hold(order(ids["yielded"])),
        operating.release(order(ids["yielded"])),
        operating.retry_step(asking(), idx=0, begin_again=True),
        operating.skip_step(asking()),
        operating.resolve_happened(asking(), idx=0, output={}, next_name="next"),
        operating.resolve_absent(asking()),
        operating.retry_undo(halted()),
        operating.skip_undo(halted()),
        operating.reopen(order(ids["failed"]), idx=cursor("failed"), undo=False, begin_again=True),
        operating.reopen(
            order(ids["failed_by_policy_in_a_step"]),
            idx=cursor("failed_by_policy_in_a_step"),
            undo=True,
            begin_again=True,
        ),
    ]
    assert None not in landed
    doubted()[1].absent()
    assert engine.ledger.pass_over(ids["rung_again"], 0, "a list that is none", pace=True)
    assert not engine.ledger.pass_over(ids["rung_again"], 0, "a list that is none")
    assert operating.retry_passed_over(order(ids["rung_again"]))
    operating.now()
    with engine.database.checkout() as connection:
        execute(connection, "operated", {"saga_id": ids["yielded"], "request": "none"})
    definitions = DefinitionStore(engine.database)
    definitions.put(Definition(kind="t", steps=["steps.echo"]), None)
    definitions.current(None)
    for is_parked in (False, True):
        sagas.sweeping.due(SCOPE, is_parked=is_parked, stale_after=timedelta(0), limit=100)
    engine.list_stale_running()
    engine.reads.identity()
    sagas.sweeping.not_rung([Doorbell.of(engine.get(saga_id)) for saga_id in ids.values()])
    engine.sweep_if_overdue()
    engine.recovery.mismatched()
    sagas.close()


@pytest.mark.parametrize("finished", [0, FINISHED])
def test_every_statement_reads_through_indexes_only(explained, finished):
    """Also where its plan was made while nothing was active, and a backlog has come since."""
    settings = Settings.from_env({}, database_url=explained, sweep_interval=0.1)
    if finished:
        fill(explained, FILL, finished)
        analyse(explained)
    with Engine(settings) as engine:
        plans = Plans(engine)
        use_all(engine, plans)
        use_what_people_and_recovery_do(engine)
        early = dict(plans.found)
        plans.found.clear()
        fill(explained, CROWD, BACKLOG)
        use_all(engine, plans)
        use_what_people_and_recovery_do(engine)
        if finished:
            engine.run(engine.list(kind="finished", limit=1)[0].id)
    assert set(STATEMENTS) - set(plans.found) == set()
    scans = {
        (name, node["Node Type"], node["Relation Name"])
        for found in (early, plans.found)
        for name, some in found.items()
        for plan in some
        for node in nodes(plan)
        if node.get("Relation Name") in TABLES and "Scan" in node["Node Type"]
    }
    assert {scan for scan in scans if "Index" not in scan[1] and "Bitmap" not in scan[1]} == set()
    rows = {name: max(sum(map(touched, nodes(plan))) for plan in found) for name, found in plans.found.items()}
    of_active = rows.pop("mismatched")  # by its nature of every active saga: of the run and its last journal row
    assert BACKLOG < of_active < 3 * BACKLOG
    assert {name: count for name, count in rows.items() if count > MOST} == {}


def touched(node):
    """Rows of the ledger's tables that a node looked at, those it threw away again included."""
    if node.get("Relation Name") not in TABLES:
        return 0
    removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return (node["Actual Rows"] + removed) * node["Actual Loops"]


PAGE = 50
DEEP = "the id of a run in the middle of all that are over"
LISTS = {
    "newest": {},
    "after a deep page": {"after": DEEP},
    "oldest first after a deep page": {"after": DEEP, "order": "asc"},
    "of a kind after a deep page": {"kind": "finished", "after": DEEP},
    "behind the last": {"after": "00000000-0000-7000-8000-000000000000"},
    "of a conversation": {"conversation_id": "7"},
    "of no conversation": {"conversation_id": "none such"},
    "of a key": {"key": "8"},
    "of no key": {"key": "none such"},
    "of a key and a kind": {"key": "8", "kind": "finished"},
    "rolled back": {"status": "rolled_back"},
    "failed": {"status": "failed"},
    "not over": {"status": ["pending", "running", "compensating"]},
    "since": {"since": HOUR},
}


class ReadPlans:
    """The plans of whatever an engine's connections ask."""

    def __init__(self, engine):
        self.found = []
        sa.event.listen(engine.database.engine, "connect", lambda driver, _record: self.listen(driver))

    def listen(self, driver):
        driver.add_notice_handler(self._note)

    def _note(self, notice):
        _, _, told = (notice.message_primary or "").partition("plan:\n")
        if told:
            self.found.append(json.loads(told)["Plan"])

    def whole_tables(self):
        """The ledger's tables that were read from one end to the other."""
        scans = [node for plan in self.found for node in nodes(plan) if node.get("Relation Name") in TABLES]
        return {node["Relation Name"] for node in scans if node["Node Type"] == "Seq Scan"}

    def rows(self):
        """Rows of the ledger's tables that the statement which looked at most of them looked at."""
        return max(sum(map(touched, nodes(plan))) for plan in self.found)


@pytest.fixture
def a_history(explained):
    fill(explained, FILL, FINISHED)
    fill(explained, CROWD, BACKLOG)
    analyse(explained)
    return explained


def test_every_list_is_read_through_an_index_also_by_a_plan_made_for_an_empty_ledger(explained):
    """A page reads about as many rows as it has, and what is active, however many are over."""
    middle = "SELECT id::text FROM saga_runs WHERE kind = 'finished' ORDER BY id OFFSET 50000 LIMIT 1"
    with Engine(Settings.from_env({}, database_url=explained)) as engine:
        plans = ReadPlans(engine)

        def asked(deep):
            """How many rows each list looked at."""
            rows = {}
            for name, arguments in LISTS.items():
                plans.found.clear()
                engine.list(limit=PAGE, **{**arguments, **({"after": deep} if arguments.get("after") == DEEP else {})})
                assert plans.whole_tables() == set(), name
                rows[name] = plans.rows()
            return rows

        for _ in range(6):  # from the sixth time on a session keeps its plan
            asked(str(uuid.uuid4()))
        fill(explained, FILL, FINISHED)
        fill(explained, CROWD, BACKLOG)
        with psycopg.connect(explained) as connection:
            deep = connection.execute(middle).fetchone()[0]
        unsettled = asked(deep)
        analyse(explained)
        settled = asked(deep)
    for found in (unsettled, settled):
        assert {name: rows for name, rows in found.items() if rows > 2 * PAGE + BACKLOG} == {}


def test_a_saga_is_found_by_the_end_of_its_id_through_an_index(a_history):
    with psycopg.connect(a_history) as connection:
        over, active = (
            str(
                connection.execute(
                    f"SELECT id FROM saga_runs WHERE kind = '{kind}' AND key IS NULL LIMIT 1"
                ).fetchone()[0]
            )
            for kind in ("finished", "crowd")
        )
    with Engine(Settings.from_env({}, database_url=a_history)) as engine:
        plans = ReadPlans(engine)
        assert engine.id_of(f"finished[{over[-6:]}]") == over
        assert engine.id_of(f"crowd[{active[-6:]}]") == active
        assert engine.id_of("finished[8]")
    assert plans.whole_tables() == set()
    assert plans.rows() < 2 * BACKLOG


def test_an_audit_since_reads_what_is_not_over_and_what_ended_since_alone(a_history, monkeypatch):
    ended = 20
    with psycopg.connect(a_history) as connection:
        connection.execute(
            "UPDATE saga_runs SET completed_at = now() WHERE id IN"
            f" (SELECT id FROM saga_runs WHERE kind = 'finished' LIMIT {ended})"
        )
    with Engine(Settings.from_env({}, database_url=a_history)) as engine:
        plans = ReadPlans(engine)
        connect = engine.database.connect

        def listened(**options):
            connection = connect(**options)
            plans.listen(connection)
            return connection

        monkeypatch.setattr(engine.database, "connect", listened)
        engine.audit(since=HOUR)
    assert plans.whole_tables() == set()
    # A few rows of each of these sagas, in each part of an invariant.
    assert plans.rows() < 20 * (BACKLOG + ended)


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_is_short_enough_for_psycopg_to_remember_how_it_reads(name):
    # 4,096 bytes; the sweep's is long, and runs once a tick for many sagas.
    if name != "take_over":
        assert len(sql(name)) < 4096


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_takes_its_own_time_and_not_that_of_the_transaction_around_it(name):
    # A step's own transaction, or a caller's, may have begun long before; now() is the time when it did.
    assert re.search(rb"(?<![a-z_])(now\(\)|current_timestamp)", sql(name), re.IGNORECASE) is None
