"""The Python API on a database without a ledger, or with an older one, says so as the commands do."""

from __future__ import annotations

import psycopg
import pytest
import sqlalchemy as sa

from sagaworker.engine import Engine
from sagaworker.errors import SchemaMismatch
from sagaworker.ledger.migrate import migrate
from sagaworker.ledger.version import head
from sagaworker.settings import Settings

ID = "01900000-0000-7000-8000-000000000000"
WHY = {"reason": "x", "who": "ann"}


@pytest.fixture
def engine(empty_database_url):
    with Engine(Settings.from_env({}, database_url=empty_database_url)) as engine:
        yield engine


CALLS = {
    "start": lambda engine: engine.start("t", ["steps.echo"]),
    "start of a kind": lambda engine: engine.start("t"),
    "start_many": lambda engine: engine.start_many([{"kind": "t", "steps": ["steps.echo"]}]),
    "get": lambda engine: engine.get(ID),
    "get by a name": lambda engine: engine.get("t[one]"),
    "list": lambda engine: engine.list(needs_person=True),
    "timeline": lambda engine: engine.timeline(ID),
    "wait": lambda engine: engine.wait(ID, timeout=5),
    "run": lambda engine: engine.run(ID),
    "cancel": lambda engine: engine.cancel(ID),
    "hold": lambda engine: engine.hold(ID, **WHY),
    "explain": lambda engine: engine.explain(ID),
    "sweep": lambda engine: engine.sweep(),
    "ring_due": lambda engine: engine.ring_due(),
    "audit": lambda engine: engine.audit(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_each_call_says_which_command_the_database_needs(engine, call):
    with pytest.raises(SchemaMismatch) as refused:
        call(engine)
    said = f"the ledger cannot be used: it is at no migration, and this version needs {head()}\nrun: sagaworker migrate"
    assert str(refused.value) == said
    with pytest.raises(SchemaMismatch) as checked:
        engine.check_schema()
    assert str(checked.value) == said


@pytest.mark.parametrize("kind", ["psycopg", "sqlalchemy"])
def test_a_start_in_a_callers_transaction_says_it_too(engine, kind):
    url = engine.settings.database_url
    if kind == "psycopg":
        opened = psycopg.connect(url)
    else:
        opened = sa.create_engine(
            url.replace("postgresql://", "postgresql+psycopg://"), poolclass=sa.NullPool
        ).connect()
    with opened as connection, pytest.raises(SchemaMismatch, match="run: sagaworker migrate"):
        engine.start("t", ["steps.echo"], connection=connection)


def test_a_schema_that_is_not_there_is_an_empty_database(empty_database_url):
    settings = Settings.from_env({}, database_url=empty_database_url, schema="apart")
    with Engine(settings) as engine:
        for call in (CALLS["start"], CALLS["list"], CALLS["get"]):
            with pytest.raises(SchemaMismatch, match="it is at no migration"):
                call(engine)


def test_an_older_ledger_is_told_by_its_migration(engine):
    migrate(engine.settings.database_url, "0003")
    run = engine.start("t", ["steps.echo"])  # which that one has all columns for
    for call in (engine.run, engine.list_step_results, engine.timeline):
        with pytest.raises(SchemaMismatch, match=f"it is at 0003, and this version needs {head()}"):
            call(run.id)


def test_the_same_engine_works_once_the_database_is_migrated(engine):
    with pytest.raises(SchemaMismatch):
        engine.start("t", ["steps.echo"])
    migrate(engine.settings.database_url)
    assert engine.run(engine.start("t", ["steps.echo"]).id).status == "completed"


def test_a_table_that_the_caller_lacks_is_not_taken_for_one_of_ours(database_url):
    with Engine(Settings.from_env({}, database_url=database_url)) as engine, engine.database.checkout() as connection:
        with pytest.raises(psycopg.errors.UndefinedTable), engine.database.checkout() as other:
            other.execute("SELECT FROM nothing_of_ours")
        assert connection.execute("SELECT 1").fetchone() is not None
