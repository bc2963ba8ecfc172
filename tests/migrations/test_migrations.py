"""Migrations: up, down and up again, once however many run them, found in a checkout and in a wheel."""

import subprocess
import sys
import threading
import zipfile
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from sagaworker.domain.walk import Retry
from sagaworker.engine import Engine
from sagaworker.errors import SchemaMismatch
from sagaworker.ledger import migrate as migrations
from sagaworker.ledger import version
from sagaworker.ledger.migrate import migrate
from sagaworker.ledger.names import VERSION_TABLE
from sagaworker.ledger.schema import metadata
from sagaworker.ledger.url import sqlalchemy_url
from sagaworker.settings import Settings
from tests.holding import claimed
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]


@pytest.fixture
def database(empty_database_url):
    engine = sa.create_engine(sqlalchemy_url(empty_database_url), poolclass=sa.NullPool)
    yield engine
    engine.dispose()


def names(database):
    with database.connect() as connection:
        rows = connection.execute(
            sa.text(
                "SELECT c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
                " WHERE n.nspname = 'public' UNION ALL"
                " SELECT t.typname FROM pg_type AS t JOIN pg_namespace AS n ON n.oid = t.typnamespace"
                " WHERE n.nspname = 'public' AND t.typtype = 'd'"
            )
        )
        return sorted(rows.scalars())


def test_up_down_and_up_again_leave_nothing_behind_and_the_same_tables(database, empty_database_url):
    assert migrate(empty_database_url) == version.head()
    there = names(database)
    assert migrate(empty_database_url, "base") == "base"
    assert [name for name in names(database) if not name.startswith("sagaworker_version")] == []
    assert migrate(empty_database_url) == version.head()
    assert names(database) == there
    assert migrate(empty_database_url) == version.head()


def test_the_tables_are_those_of_the_metadata(database, empty_database_url):
    migrate(empty_database_url)
    with database.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": _differs, "version_table": VERSION_TABLE}
        )
        found = [change for change in compare_metadata(context, metadata) if change[0] != "remove_index"]
    assert found == []


def _differs(_context, _inspected, _declared, inspected_type, declared_type):
    """A domain over text is declared as text."""
    if isinstance(inspected_type, sa.dialects.postgresql.DOMAIN):
        return not isinstance(declared_type, sa.Text)
    dialect = sa.dialects.postgresql.dialect()
    return inspected_type.compile(dialect) != declared_type.compile(dialect)


def test_failures_on_record_are_counted_when_their_column_comes(empty_database_url):
    migrate(empty_database_url)
    settings = Settings.from_env({}, database_url=empty_database_url, step_packages=("tests.episodes",))
    with Engine(settings) as engine:
        waits, reopened, done = (
            engine.start("t", [f"tests.episodes.steps:{name}"], recovery_policy="fail")
            for name in ("RetriesLater", "RetriesLater", "RaisesThenWorks")
        )
        assert [engine.run(run.id).waiting_for for run in (waits, reopened, done)] == ["retry", "retry", None]
        lost = engine.start("t", ["tests.episodes.steps:TransactsInTwoTries"])
        hold = claimed(engine, lost.id)
        retry = Retry(delay=0, error={}, doubted=False, counts=False)
        hold.retry(retry, park=False, undo_timeout=timedelta(seconds=5))
        hold.yield_()
        hold.close()
        give_up(engine, reopened)
        engine.retry(reopened.id, reason="it was the network", who="ann")
    migrate(empty_database_url, "0003")
    migrate(empty_database_url)
    with Engine(settings) as engine:
        rows = [engine.list_step_results(run.id)[0] for run in (waits, reopened, done, lost)]
        assert [(row.attempts, row.failed_attempts) for row in rows] == [(1, 1), (2, 0), (3, 0), (1, 0)]
        assert engine.audit() == []


def give_up(engine, run):
    """Its wait is over, and its worker dies in the next attempt; its policy is fail."""
    with psycopg.connect(engine.settings.database_url, autocommit=True) as connection:
        connection.execute("UPDATE saga_runs SET wake_at = now() WHERE id = %s", (run.id,))
    claimed(engine, run.id).close()
    assert engine.take_over_dead(engine.owner) == 1
    assert engine.get(run.id).status == "failed"


def test_two_that_migrate_at_once_take_turns(database, empty_database_url):
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(migrate(empty_database_url))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [version.head()] * 4


def test_moves_are_not_stalled_by_a_migration_that_waits_for_somebody_who_reads(empty_database_url, monkeypatch):
    migrate(empty_database_url)
    migrate(empty_database_url, "0003")
    with monkeypatch.context() as patched, psycopg.connect(empty_database_url) as reader:
        patched.setattr(migrations, "_LOCK_TRIES", 3)
        reader.execute("SELECT count(*) FROM saga_step_results")
        with pytest.raises(migrations.LedgerBusy, match="nothing was changed"):
            migrate(empty_database_url)
    with sa.create_engine(sqlalchemy_url(empty_database_url), poolclass=sa.NullPool).connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert context.get_current_revision() == "0003"
    with psycopg.connect(empty_database_url) as reader:
        reader.execute("SELECT count(*) FROM saga_step_results")
        answers = []
        thread = threading.Thread(target=lambda: answers.append(migrate(empty_database_url)))
        thread.start()
        with psycopg.connect(empty_database_url, autocommit=True) as mover:
            mover.execute("SET lock_timeout = '5s'")  # as our moves have it
            wait_until(lambda: waits_for_a_table(mover), what="a migration that waits")
            mover.execute("UPDATE saga_step_results SET attempts = attempts WHERE step_idx = 0")
        reader.rollback()
        thread.join()
    assert answers == [version.head()]


def waits_for_a_table(connection):
    query = "SELECT 1 FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"
    return connection.execute(query).fetchone()


INDEX = "saga_runs_by_key"
BUILDS = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY%' AND wait_event_type = 'Lock'"


def is_valid(connection):
    return connection.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", [INDEX]).fetchone()


def test_moves_go_on_while_an_index_of_a_large_table_is_built(empty_database_url):
    migrate(empty_database_url, "0005")
    with Engine(Settings.from_env({}, database_url=empty_database_url)) as engine:
        run = engine.start("t", ["steps.echo"])
    answers = []
    with psycopg.connect(empty_database_url) as writer:
        writer.execute("UPDATE saga_runs SET rings = rings")  # as long as this is open, no index is finished
        thread = threading.Thread(target=lambda: answers.append(migrate(empty_database_url)))
        thread.start()
        with psycopg.connect(empty_database_url, autocommit=True) as mover:
            mover.execute("SET lock_timeout = '100ms'")
            wait_until(lambda: mover.execute(BUILDS).fetchone(), what="a build that waits for the writer")
            mover.execute(
                "INSERT INTO saga_runs (id, kind, key, status, step_modules, inputs, inputs_hash)"
                " VALUES (gen_random_uuid(), 't', 'k', 'pending', '[]', '{}', '')"
            )
            assert is_valid(mover) != (True,)
        writer.commit()
        thread.join()
        assert answers == [version.head()]
        assert is_valid(writer) == (True,)
        assert writer.execute("SELECT count(*) FROM saga_runs").fetchone() == (2,)
    assert run.id


def test_an_index_whose_build_was_broken_off_is_made_anew(empty_database_url):
    migrate(empty_database_url, "0005")
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute(f"CREATE INDEX {INDEX} ON saga_runs (key)")
        connection.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass(%s)", [INDEX])
        migrate(empty_database_url)
        assert is_valid(connection) == (True,)
        columns = connection.execute("SELECT pg_get_indexdef(to_regclass(%s))", [INDEX]).fetchone()
        assert "(key, id) WHERE (key IS NOT NULL)" in columns[0]


def test_a_build_that_long_transactions_keep_from_its_end_gives_up_and_is_made_later(empty_database_url, monkeypatch):
    migrate(empty_database_url, "0005")
    monkeypatch.setattr(migrations, "_BUILD_SECONDS", 0.1)
    with psycopg.connect(empty_database_url) as writer:
        writer.execute("LOCK TABLE saga_runs IN ROW EXCLUSIVE MODE")
        with pytest.raises(migrations.LedgerBusy, match="nothing was changed"):
            migrate(empty_database_url)
    assert migrate(empty_database_url) == version.head()


def test_the_revisions_that_are_told_without_alembic_are_those_that_it_walks():
    config = Config()
    config.set_main_option("script_location", str(version.migrations_folder()))
    scripts = ScriptDirectory.from_config(config)
    assert version.known() == tuple(script.revision for script in scripts.walk_revisions())[::-1]
    assert version.head() == scripts.get_current_head()


def test_an_engine_says_which_command_an_empty_database_needs(empty_database_url):
    with (
        Engine(Settings.from_env({}, database_url=empty_database_url)) as engine,
        pytest.raises(
            SchemaMismatch, match=r"it is at no migration, and this version needs \d+\nrun: sagaworker migrate"
        ),
    ):
        engine.check_schema()


def test_the_wheel_carries_the_migrations_and_the_statements_and_no_steps(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("sagaworker-*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    for file in sorted((ROOT / "migrations" / "versions").glob("*.py")):
        assert f"sagaworker/migrations/versions/{file.name}" in inside
    for file in sorted((ROOT / "sagaworker" / "ledger" / "sql").rglob("*.sql")):
        assert str(file.relative_to(ROOT)) in inside
    assert not [name for name in inside if name.startswith(("steps/", "tests/", "bench/", "demo/"))]
