"""Each invariant finds its own breach, alone; a ledger that only the moves wrote has none."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from sagaworker.domain.records import Finding
from sagaworker.domain.values import Json
from sagaworker.ledger import audit as audit_module
from sagaworker.ledger.audit import audit, invariants
from sagaworker.ledger.database import Database
from tests.conftest import DatabaseServer
from tests.ledger.varied import KINDS, Sagas, cancelled_while_nobody_held_it

SWEEP = timedelta(seconds=10)
HOUR = timedelta(hours=1)
LONG_AGO = "inserted_at = now() - interval '9 days', started_at = NULL, completed_at = now() - interval '8 days'"


@dataclass(frozen=True)
class Seed:
    """A breach: what is done to one saga of one kind."""

    invariant: int
    kind: str
    name: str
    statement: str
    detail: str = ""  # where one invariant has several parts: which of them speaks


def _row(idx: int, values: str) -> str:
    return f"UPDATE saga_step_results SET {values} WHERE saga_id = %(id)s AND step_idx = {idx}"


def _run(values: str) -> str:
    return f"UPDATE saga_runs SET {values} WHERE id = %(id)s"


_SECOND_EPISODE = """
    INSERT INTO saga_episodes (saga_id, fence, owner, host, pid, lease_until, started_at, ended_at, outcome)
    SELECT saga_id, {fence}, owner, host, pid, lease_until, {started_at}, {ended_at}, {outcome}
    FROM saga_episodes WHERE saga_id = %(id)s ORDER BY fence DESC LIMIT 1
"""

SEEDS = [
    Seed(1, "running", "completed_at of an active run", _run("completed_at = now()")),
    Seed(1, "completed", "a terminal run without completed_at", _run("completed_at = NULL")),
    Seed(
        1,
        "completed",
        "a terminal run with an open episode",
        "UPDATE saga_episodes SET ended_at = NULL, outcome = NULL WHERE saga_id = %(id)s",
    ),
    Seed(
        2,
        "running",
        "two open episodes",
        "UPDATE saga_runs SET fence = 2 WHERE id = %(id)s;"
        + _SECOND_EPISODE.format(fence=2, started_at="now()", ended_at="NULL", outcome="NULL"),
    ),
    Seed(
        3,
        "completed_after_its_worker_died",
        "an episode that ended after the next began",
        "UPDATE saga_episodes SET ended_at = now() + interval '1 minute' WHERE saga_id = %(id)s AND fence = 1",
    ),
    Seed(
        3,
        "completed",
        "an episode above the run's fence",
        "UPDATE saga_episodes SET fence = 7 WHERE saga_id = %(id)s;"
        + _SECOND_EPISODE.format(
            fence=1,
            started_at="started_at - interval '1 hour'",
            ended_at="started_at - interval '1 minute'",
            outcome="'yielded'",
        ),
    ),
    Seed(4, "running", "a row is missing", "DELETE FROM saga_step_results WHERE saga_id = %(id)s AND step_idx = 0"),
    Seed(
        4,
        "completed",
        "more rows than steps",
        "INSERT INTO saga_step_results (saga_id, step_idx, step_name, status, fence) VALUES (%(id)s, 3, 'd', 'pending', 1)",
    ),
    Seed(5, "yielded", "a lower row was never finished", _row(0, "status = 'pending'")),
    Seed(5, "failed_by_policy_in_a_step", "a lower row failed", _row(0, "status = 'failed'")),
    Seed(
        5,
        "completed_graph",
        "a dependency was never finished",
        "UPDATE saga_runs SET status = 'failed' WHERE id = %(id)s;"
        'UPDATE saga_events SET data = data || \'{"status": "failed"}\' WHERE saga_id = %(id)s;'
        + _row(1, "status = 'pending', attempts = 0, completed_at = NULL"),
    ),
    Seed(6, "completed", "a step of a completed run was skipped", _row(1, "status = 'skipped'")),
    Seed(
        7,
        "running",
        "a row above the cursor was begun",
        "INSERT INTO saga_step_results (saga_id, step_idx, step_name, status, attempts, fence) "
        "VALUES (%(id)s, 2, 'c', 'running', 1, 1);" + _row(1, "status = 'completed', completed_at = started_at"),
        "row 2 was begun, the cursor is 1",
    ),
    Seed(
        7,
        "running",
        "a step whose result was recorded without the cursor",
        _row(1, "status = 'completed', completed_at = started_at"),
        "row 1 at the cursor is completed",
    ),
    Seed(
        7,
        "waiting_for_a_retry",
        "a cursor whose row is undone",
        _row(1, "status = 'compensated'"),
        "row 1 at the cursor is compensated",
    ),
    Seed(
        7,
        "yielded",
        "a cursor without a row",
        "DELETE FROM saga_step_results WHERE saga_id = %(id)s AND step_idx = 1",
        "row 1 at the cursor is missing",
    ),
    Seed(
        8,
        "compensating",
        "a completed row above the cursor",
        _row(2, "status = 'completed', completed_at = started_at"),
    ),
    Seed(8, "compensating", "a doubted row above the cursor", _row(2, "in_doubt = 1")),
    Seed(8, "compensating", "a cursor whose row is not being undone", _row(1, "status = 'completed'")),
    Seed(8, "compensating", "two rows being undone", _row(0, "status = 'compensating'")),
    Seed(8, "yielded", "a row being undone in a run that goes forward", _row(0, "status = 'compensating'")),
    Seed(9, "rolled_back", "a completed row was not undone", _row(0, "status = 'completed'")),
    Seed(9, "rolled_back_from_a_doubt", "a doubted row was not undone", _row(2, "status = 'pending'")),
    Seed(10, "failed_by_policy_in_a_step", "a row is running at rest", _row(1, "status = 'running'")),
    Seed(10, "failed", "a row is being undone at rest", _row(0, "status = 'compensating'")),
    Seed(11, "compensating", "a failed undo that nobody sees", _row(1, "status = 'compensation_failed'")),
    Seed(11, "timed_out", "a failed undo in a run that was rolled back", _row(0, "status = 'compensation_failed'")),
    Seed(12, "completed", "a cancel that was not kept", _run("cancel_requested = true")),
    Seed(13, "completed_after_two_retries_and_a_note", "an attempt out of nowhere", _row(0, "attempts = attempts + 1")),
    Seed(13, "completed_after_two_retries_and_a_note", "a failure out of nowhere", _row(0, "failed_attempts = 3")),
    Seed(13, "completed_after_its_worker_died", "a recovery that was not counted", _row(1, "recoveries = 0")),
    Seed(14, "failed_first_step", "a failed row in a pending guise", _row(0, "status = 'pending'")),
    Seed(14, "rolled_back", "a definite failure that was undone", _row(2, "status = 'compensated'")),
    Seed(14, "failed", "a doubted row that counts as definite", _row(2, "status = 'failed'")),
    Seed(15, "completed", "a row above the run's fence", _row(0, "fence = 9")),
    Seed(15, "completed_after_its_worker_died", "a row of no episode", _row(0, "fence = 0")),
    Seed(16, "completed", "a run that began before it was there", _run("inserted_at = now() + interval '1 hour'")),
    Seed(16, "completed", "a row that completed before it began", _row(0, "started_at = now() + interval '1 hour'")),
    Seed(
        16,
        "completed",
        "an episode that ended before it began",
        "UPDATE saga_episodes SET started_at = now() + interval '1 hour' WHERE saga_id = %(id)s",
    ),
    Seed(17, "completed", "a context that is not the fold", _run("""context = context || '{"last": 1}'""")),
    Seed(17, "rolled_back", "a terminal run without its context", _run("context = NULL")),
    Seed(17, "pending", "inputs that changed", _run("""inputs = inputs || '{"amount": 150}'""")),
    Seed(17, "pending", "a list that lost steps", _run("""step_modules = '["steps.a"]'""")),
    Seed(
        17,
        "pending",
        "a list with another step",
        _run("""step_modules = jsonb_set(step_modules, '{0}', '"steps.other"')"""),
    ),
    Seed(18, "pending", "a doorbell lost for good", _run("wake_at = now() - interval '31 seconds'")),
    Seed(18, "yielded", "a run that nobody will ever ring", _run("wake_at = NULL")),
    Seed(18, "waiting_for_a_retry", "a retry that is long due", _run("wake_at = now() - interval '31 seconds'")),
    Seed(
        19,
        "running",
        "a holder that is long dead",
        "UPDATE saga_episodes SET lease_until = now() - interval '31 seconds' WHERE saga_id = %(id)s",
    ),
    Seed(20, "pending", "one key for two runs", _run("key = 'order-1'")),
    Seed(23, "pending", "no journal", "DELETE FROM saga_events WHERE saga_id = %(id)s"),
    Seed(23, "completed", "a hole in the journal", "DELETE FROM saga_events WHERE saga_id = %(id)s AND seq = 3"),
    Seed(23, "running", "a move that was not journaled", _run("seq = seq + 1")),
    Seed(23, "held_by_policy", "a wait that was not journaled", _run("waiting_for = 'operator'")),
    Seed(
        23,
        "halted",
        "a status that was not journaled",
        """UPDATE saga_events SET data = data - 'status' WHERE saga_id = %(id)s""",
    ),
]


@dataclass(frozen=True)
class Ledger:
    """The ledger of varied sagas, and which is which."""

    url: str
    ids: Mapping[str, str]

    def change(self, statement: str, kind: str = "completed") -> None:
        with psycopg.connect(self.url, autocommit=True) as connection, psycopg.ClientCursor(connection) as cursor:
            cursor.execute(statement.encode(), {"id": self.ids[kind]})

    def found(self, **limits: Any) -> set[tuple[int, str]]:
        """What the audit finds: (invariant, kind of saga)."""
        kinds = {saga_id: kind for kind, saga_id in self.ids.items()}
        return {(finding.invariant, kinds[finding.saga_id]) for finding in self.findings(**limits)}

    def findings(self, **limits: Any) -> Sequence[Finding]:
        database = Database(self.url)
        try:
            findings = audit(database, sweep_interval=SWEEP, **limits)
        finally:
            database.close()
        assert all(finding.rule and finding.detail for finding in findings)
        return findings


# What keeps some of these breaches out of a real ledger: constraints, which a restored backup or a repair may lack.
GUARDS = """
    DROP INDEX saga_episodes_one_open_per_saga;
    DROP INDEX saga_runs_kind_key_is_unique
"""
TABLES = ("saga_runs", "saga_step_results", "saga_events", "saga_episodes")


@pytest.fixture(scope="module")
def original(database_server: DatabaseServer, template_database: str) -> Iterator[Ledger]:
    """One saga of every kind, with a copy of every table; the guards are gone."""
    name = database_server.create(template=template_database)
    url = database_server.url_of(name)
    database = Database(url)
    sagas = Sagas(database)
    ids = {kind: make(sagas) for kind, make in KINDS.items()}
    sagas.close()
    database.close()
    with psycopg.connect(url) as connection:
        connection.execute(GUARDS)
        for table in TABLES:
            connection.execute(f"CREATE TABLE kept_{table} AS TABLE {table}")
    yield Ledger(url, ids)
    database_server.drop(name)


@pytest.fixture
def ledger(original: Ledger) -> Ledger:
    with psycopg.connect(original.url) as connection:
        for table in TABLES:
            connection.execute(f"TRUNCATE {table}; INSERT INTO {table} TABLE kept_{table}")
    return original


def test_ledger_that_only_the_moves_wrote_is_sound(ledger):
    assert ledger.found() == set()


def test_cancel_of_a_runnable_saga_that_nobody_holds_leaves_a_sound_ledger(database_url):
    database = Database(database_url)
    sagas = Sagas(database)
    try:
        cancelled_while_nobody_held_it(sagas)
        assert audit(database, sweep_interval=SWEEP) == []
    finally:
        sagas.close()
        database.close()


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: f"{seed.invariant}-{seed.name}")
def test_breach_is_found_by_its_invariant_alone(ledger, seed):
    ledger.change(seed.statement, seed.kind)
    expected = {(seed.invariant, seed.kind)}
    if seed.invariant == 20:
        expected.add((20, "completed"))
    assert ledger.found() == expected
    assert ledger.found(since=HOUR) == expected
    assert any(seed.detail in finding.detail for finding in ledger.findings())


def test_every_invariant_has_a_breach_here():
    assert {seed.invariant for seed in SEEDS} == {invariant.number for invariant in invariants()}


def test_invariants_are_those_of_the_protocol_but_children_and_approvals():
    assert [invariant.number for invariant in invariants()] == [*range(1, 21), 23]


def test_audit_of_some_sagas_says_nothing_about_others(ledger):
    ledger.change(_run("cancel_requested = true"), "completed")
    ledger.change(_run("inputs_hash = 'x'"), "pending")
    everything = {(12, "completed"), (17, "pending")}
    assert ledger.found() == everything
    assert ledger.found(saga_ids=list(ledger.ids.values())) == everything
    assert ledger.found(saga_ids=[ledger.ids["completed"]]) == {(12, "completed")}
    assert ledger.found(saga_ids=[ledger.ids["pending"]]) == {(17, "pending")}
    assert ledger.found(saga_ids=[ledger.ids["running"]]) == set()
    assert ledger.found(saga_ids=[]) == set()


def test_audit_since_leaves_out_what_was_over_before_and_nothing_else(ledger):
    old, recent = "completed", "rolled_back"
    for kind in (old, recent, "running"):
        ledger.change(_run("inputs_hash = 'x'"), kind)
    ledger.change(_run(LONG_AGO), old)
    assert ledger.found() == {(17, old), (17, recent), (17, "running")}
    for since in (timedelta(days=7), HOUR, datetime.now(UTC) - HOUR):
        assert ledger.found(since=since) == {(17, recent), (17, "running")}
    assert ledger.found(since=timedelta(days=10)) == ledger.found()
    ledger.change(_run("inserted_at = now() - interval '90 days'"), "running")
    assert ledger.found(since=HOUR) == {(17, recent), (17, "running")}, "it is not over"


def test_audit_since_finds_that_an_old_run_has_the_same_key(ledger):
    for kind in ("completed", "running"):
        ledger.change(_run("kind = 'order', key = '42'"), kind)
    ledger.change(_run(LONG_AGO), "completed")
    assert ledger.found() == {(20, "completed"), (20, "running")}
    assert ledger.found(since=HOUR) == {(20, "running")}


def test_audit_reads_one_snapshot(ledger, monkeypatch):
    """What is moved while it reads is for the next one: else each saga on its way would look broken."""
    database = Database(ledger.url)
    read = audit_module._findings

    def moved(connection, invariant, parameters):
        found = list(read(connection, invariant, parameters))
        if invariant.number == 1:
            ledger.change(_run("cancel_requested = true"), "completed")
        return iter(found)

    monkeypatch.setattr(audit_module, "_findings", moved)
    assert audit(database, sweep_interval=SWEEP) == []
    monkeypatch.setattr(audit_module, "_findings", read)
    assert {finding.invariant for finding in audit(database, sweep_interval=SWEEP)} == {12}
    database.close()


def test_audit_cannot_write(ledger, monkeypatch):
    def writes(connection, _invariant, _parameters):
        connection.execute("UPDATE saga_runs SET rings = rings")
        return iter(())

    database = Database(ledger.url)
    monkeypatch.setattr(audit_module, "_findings", writes)
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        audit(database, sweep_interval=SWEEP)
    database.close()


def test_the_session_of_an_audit_is_gone_with_it(ledger):
    """The next user of the connection may write, and not for half an hour."""
    database = Database(ledger.url, pool_size=1)
    audit(database, sweep_interval=SWEEP)
    with database.checkout() as connection:
        settings = [connection.execute(f"SHOW {name}").fetchone() for name in ("statement_timeout", "plan_cache_mode")]
        connection.execute("UPDATE saga_runs SET rings = rings")
    database.close()
    assert settings == [("10s",), ("force_generic_plan",)]


# Numbers that jsonb writes otherwise than Python does: no sign of zero, no exponent.
REWRITTEN = [1e22, 1e23, -1e16, 1.5e300, -0.0, 1e-7, 5e-324, 0.1, 1.0, 123456789012345.0, math.pi, 10**400, 2**53 + 1]


def test_hash_of_inputs_survives_the_ledger(database_url):
    database = Database(database_url)
    sagas = Sagas(database)
    values: list[Json] = [
        *REWRITTEN,
        *map(str, REWRITTEN),
        True,
        None,
        "\u2028\x7f\U0001f600",
        "",
        {"": []},
        {"bb": 1, "c": 2},
    ]
    ids = [sagas.start(inputs={"value": value, "nested": [{"value": value}]}) for value in values]
    odd = {finding.saga_id for finding in audit(database, sweep_interval=SWEEP)}
    database.close()
    assert [value for saga_id, value in zip(ids, values, strict=True) if saga_id in odd] == []
