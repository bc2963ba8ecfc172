"""A caller's connection: what it registers for itself does not reach our statements."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.types.json import set_json_loads

from sagaworker import Engine
from sagaworker.errors import InvalidInput, KeyConflict


@pytest.fixture
def engine(database_url):
    with Engine.from_env(database_url=database_url, step_packages="steps") as made:
        yield made


def as_text(raw):
    return raw if isinstance(raw, str) else bytes(raw).decode()


@pytest.mark.parametrize("style", ["ISO, MDY", "German, DMY"])
def test_what_a_caller_registers_on_its_connection_does_not_change_a_run(engine, style):
    with psycopg.connect(engine.settings.database_url, row_factory=psycopg.rows.tuple_row) as connection:
        set_json_loads(as_text, connection)
        connection.execute(f"SET DateStyle = '{style}'")
        connection.execute("SET IntervalStyle = 'sql_standard'")
        run = engine.start("t", ["steps.echo"], inputs={"a": [1]}, key="k", connection=connection)
        again = engine.start("t", ["steps.echo"], inputs={"a": [1]}, key="k", connection=connection)
    assert (again.id, dict(again.inputs), again.step_modules) == (run.id, {"a": [1]}, run.step_modules)
    found = engine.get(run.id)
    assert (again.inserted_at, again.wake_at) == (found.inserted_at, found.wake_at)
    assert found.inserted_at is not None


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_callers_encoding_takes_no_letter_from_a_saga_and_is_kept(engine, encoding):
    with psycopg.connect(engine.settings.database_url) as connection:
        connection.execute(f"SET client_encoding = '{encoding}'")
        connection.commit()
        run = engine.start("t", ["steps.echo"], inputs={"for": "\u2603"}, key="\u2603", connection=connection)
        again = engine.start("t", ["steps.echo"], inputs={"for": "\u2603"}, key="\u2603", connection=connection)
        assert (again.id, dict(again.inputs)) == (run.id, {"for": "\u2603"})
        with pytest.raises(KeyConflict):
            engine.start("t", ["steps.echo"], inputs={"for": "\u2604"}, key="\u2603", connection=connection)
        assert connection.info.parameter_status("client_encoding") == encoding
        with pytest.raises(psycopg.errors.UndefinedColumn), connection.transaction():
            engine.start("t", ["steps.echo"], key="two", connection=connection)
            connection.execute("SELECT nothing")
        assert connection.info.parameter_status("client_encoding") == encoding
    assert [(one.id, one.key) for one in engine.list()] == [(run.id, "\u2603")]


def test_a_start_that_a_stricter_transaction_cannot_decide_fails_as_postgresql_has_it(engine):
    """The saga is there since, which this snapshot does not see: whoever asked for that level tries again."""
    for level in (psycopg.IsolationLevel.REPEATABLE_READ, psycopg.IsolationLevel.SERIALIZABLE):
        with psycopg.connect(engine.settings.database_url) as connection:
            connection.isolation_level = level
            connection.execute("SELECT")
            run = engine.start("t", ["steps.echo"], key=level.name)
            with pytest.raises(psycopg.errors.SerializationFailure):
                engine.start("t", ["steps.echo"], key=level.name, connection=connection)
            connection.rollback()
            assert engine.start("t", ["steps.echo"], key=level.name, connection=connection).id == run.id


def test_transactions_and_savepoints_of_a_connection_in_autocommit_are_joined(engine):
    with psycopg.connect(engine.settings.database_url, autocommit=True) as connection:
        with connection.transaction():
            kept = engine.start("t", ["steps.echo"], connection=connection)
            with connection.transaction(force_rollback=True):
                engine.start("t", ["steps.echo"], connection=connection)
        with pytest.raises(InvalidInput, match="got one in autocommit"):
            engine.start("t", ["steps.echo"], connection=connection)
    assert [run.id for run in engine.list()] == [kept.id]


def test_a_connection_given_as_none_is_refused_with_the_reason(engine):
    with pytest.raises(InvalidInput, match="got None"):
        engine.start("t", ["steps.echo"], connection=None)
    assert engine.list() == []
