"""The statements of a walk, run by a prepared name, do what they do when a cursor runs them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from sagaworker.domain.status import RunStatus
from sagaworker.engine import Engine
from sagaworker.ledger import prepared
from sagaworker.ledger.line import Line
from sagaworker.settings import Settings
from tests.holding import advance, claimed

PREPARED = "SELECT name FROM pg_prepared_statements WHERE name LIKE 'sagaworker%'"
VALUES = {
    "text": 'ä "quoted" \\ %s $1 %(idx)s {} \U0001f600',
    "numbers": [0, -1, 2**70, 1.5, 1e20],
    "rest": [None, True, False, {}, []],
}
DEADLINES = [
    datetime(2999, 12, 31, 23, 59, 59, tzinfo=UTC),
    datetime(2999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(2999, 12, 31, 23, 59, 59, 120000, tzinfo=UTC),
]


@pytest.fixture
def engine(database_url):
    with Engine(Settings.from_env({}, database_url=database_url, step_packages="steps", lease=600)) as engine:
        yield engine
        assert engine.audit() == []


@pytest.fixture
def runs(monkeypatch):
    """The files that were run by a prepared name."""
    files = []
    run = prepared.run

    def noted(connection, file, parameters):
        files.append(file)
        return run(connection, file, parameters)

    monkeypatch.setattr(prepared, "run", noted)
    return files


@pytest.mark.parametrize("deadline", DEADLINES)
def test_what_is_read_by_a_prepared_name_is_what_a_cursor_reads(engine, runs, monkeypatch, deadline):
    run = engine.start(
        "ä", ["steps.echo"], inputs=VALUES, attributes={"a": "ä"}, key="k", priority=3, deadline=deadline, queue="q"
    )
    with Line(engine.database) as line:
        by_name = engine.ledger.load(run.id, line)
    assert runs == ["start_one", "load"]
    monkeypatch.setattr(prepared, "IS_SUPPORTED", False)
    with Line(engine.database) as line:
        assert engine.ledger.load(run.id, line) == by_name
    assert runs == ["start_one", "load"]
    assert by_name.run == engine.get(run.id)
    assert by_name.run.deadline_at == deadline


@pytest.mark.parametrize("is_supported", [True, False])
def test_a_saga_is_walked_with_a_psycopg_that_has_the_private_names_and_with_one_that_has_not(
    engine, runs, monkeypatch, is_supported
):
    monkeypatch.setattr(prepared, "IS_SUPPORTED", is_supported)
    first, second = (engine.start("t", ["steps.echo"] * 2, inputs=VALUES) for _ in range(2))
    assert engine.run(first.id).status is RunStatus.COMPLETED
    assert engine.run(second).status is RunStatus.COMPLETED
    assert bool(runs) is is_supported


def test_values_are_recorded_as_they_were_put_out(engine):
    run = engine.start("t", ["steps.echo"] * 2)
    hold = claimed(engine, run.id)
    advance(hold, json.dumps(VALUES))
    advance(hold, json.dumps({"text": VALUES["text"]}, ensure_ascii=False), last=True)
    hold.close()
    assert [row.output for row in engine.list_step_results(run.id)] == [VALUES, {"text": VALUES["text"]}]


def test_a_rollback_on_the_same_connection_takes_the_prepared_statements_and_none_is_missed(engine):
    run = engine.start("t", ["steps.echo"] * 3)
    hold = claimed(engine, run.id)
    connection = hold._line._open().connection
    assert len(connection.execute(PREPARED).fetchall()) == 3
    for last in (False, False, True):
        advance(hold, last=last)
        with pytest.raises(psycopg.errors.DivisionByZero), connection.transaction():
            connection.execute("SELECT 1 / 0", prepare=True)
        assert connection.execute(PREPARED).fetchall() == [], "psycopg deallocates everything"
    hold.close()
    entries = engine.timeline(run.id).journal
    assert [entry.type for entry in entries] == ["saga.started", "saga.claimed", *["step.completed"] * 3]
    assert engine.get(run.id).status is RunStatus.COMPLETED


def test_what_was_prepared_after_a_rollback_is_kept_when_what_was_prepared_before_is_found_gone(engine):
    nobody = {
        "saga_id": "00000000-0000-0000-0000-000000000000",
        "fence": 1,
        "idx": 0,
        "attempts": 1,
        "output": "{}",
        "next_name": "next",
        "next_timeout": timedelta(1),
    }
    with engine.database.connect() as connection:
        assert prepared.run(connection, "load", nobody) == []
        with connection.transaction(force_rollback=True):
            connection.execute("SELECT 1", prepare=True)
        assert connection.execute(PREPARED).fetchall() == [], "psycopg deallocates everything"
        for file in ("advance_plain", "load", "advance_plain", "load"):
            assert prepared.run(connection, file, nobody) == []


def test_a_server_that_a_pooler_lent_to_another_one_before_has_no_name_of_ours(engine):
    """In session mode, where the pooler does not reset a server between two clients."""
    with engine.database.connect() as one, engine.database.connect() as other:
        for connection in (one, other):
            prepared.run(connection, "load", {"saga_id": "00000000-0000-0000-0000-000000000000"})
        first, second = (connection.execute(PREPARED).fetchall() for connection in (one, other))
    assert len(first) == len(second) == 1
    assert first != second


@pytest.mark.parametrize(
    "value",
    [None, "", "ä\n", True, False, 0, -(2**31), timedelta(0), timedelta(days=-1, microseconds=1), timedelta.max // 2],
)
def test_the_text_of_a_parameter_is_read_as_the_value_it_stands_for(engine, value):
    kind = {str: "text", bool: "boolean", int: "integer", timedelta: "interval", type(None): "text"}[type(value)]
    with engine.database.checkout() as connection:
        sent = prepared._text(value)
        text = None if sent is None else sent.decode()
        found = connection.execute(f"SELECT %s::text::{kind} IS NOT DISTINCT FROM %s::{kind}", (text, value)).fetchone()
    assert found == (True,)


def test_a_parameter_of_another_type_is_refused():
    with pytest.raises(TypeError, match="got a float"):
        prepared._text(1.5)


def test_text_with_a_nul_is_refused_and_not_cut_off():
    with pytest.raises(psycopg.DataError, match="NUL"):
        prepared._text("reserve\0and more")
