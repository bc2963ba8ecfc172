"""The ledger inside somebody else's database: their Alembic history, their tables, their search_path."""

import itertools

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from sagaworker import Engine
from sagaworker.autogenerate import include_name
from sagaworker.errors import InvalidSetting
from sagaworker.ledger.migrate import migrate
from sagaworker.ledger.names import TABLES
from sagaworker.ledger.schema import metadata
from sagaworker.ledger.statements import sql
from sagaworker.ledger.url import sqlalchemy_url
from sagaworker.ledger.version import head, known
from sagaworker.settings import Settings
from tests.ledger.test_plans import STATEMENTS

EVIL = (
    "CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.saga_runs (id uuid); CREATE TABLE elsewhere.saga_events (id uuid)"
)

OLD_NAMES = (
    "ALTER TABLE saga_episodes RENAME TO episodes",
    "ALTER INDEX saga_episodes_pkey RENAME TO episodes_pkey",
    "ALTER INDEX saga_episodes_one_open_per_saga RENAME TO episodes_one_open_per_saga",
    "ALTER INDEX saga_episodes_open_by_lease RENAME TO episodes_open_by_lease",
    "ALTER INDEX saga_episodes_open_by_owner RENAME TO episodes_open_by_owner",
    "ALTER TABLE episodes RENAME CONSTRAINT saga_episodes_ended_has_outcome TO episodes_ended_has_outcome",
    "ALTER DOMAIN saga_episode_outcome RENAME TO episode_outcome",
    "ALTER DOMAIN episode_outcome RENAME CONSTRAINT saga_episode_outcome_is_known TO episode_outcome_is_known",
)
OLD_SWEEPS = (
    "ALTER TABLE saga_sweeps RENAME TO sweep_state",
    "ALTER INDEX saga_sweeps_pkey RENAME TO sweep_state_pkey",
)


def ask(url, query, *parameters):
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(query, parameters).fetchall()


def do(url, *statements):
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def settings(url, **others):
    return Settings.from_env({}, database_url=url, step_packages=("tests.episodes",), **others)


def tables(url, schema):
    found = ask(url, "SELECT tablename FROM pg_tables WHERE schemaname = %s", schema)
    return {name for (name,) in found}


def old_ledger(url, revision, *, beside=()):
    """A ledger as sagaworker made it before it had a version table of its own."""
    migrate(url, revision)
    do(url, *OLD_NAMES, *(OLD_SWEEPS if revision > "0001" else ()))
    do(
        url,
        "ALTER TABLE sagaworker_version RENAME TO alembic_version",
        "ALTER INDEX sagaworker_version_pkc RENAME TO alembic_version_pkc",
        *(f"INSERT INTO alembic_version VALUES ('{other}')" for other in beside),
    )


@pytest.mark.parametrize("revision", [one for one in known() if one < "0005"])  # later ones have their own
def test_a_ledger_with_the_old_version_table_is_carried_over_and_keeps_its_sagas(empty_database_url, revision):
    old_ledger(empty_database_url, revision)
    do(
        empty_database_url,
        "INSERT INTO saga_runs (id, kind, key, status, step_modules, inputs, inputs_hash)"
        " VALUES (gen_random_uuid(), 'old', 'one', 'completed', '[]', '{}', '')",
    )
    assert migrate(empty_database_url) == head()
    assert ask(empty_database_url, "SELECT kind, key FROM saga_runs") == [("old", "one")]
    assert tables(empty_database_url, "public") == {*TABLES, "sagaworker_version"}
    indexes = {
        name for (name,) in ask(empty_database_url, "SELECT indexname FROM pg_indexes WHERE schemaname = 'public'")
    }
    assert {name for name in indexes if not name.startswith(("saga_", "sagaworker_"))} == set()
    assert migrate(empty_database_url) == head()


def test_an_applications_row_in_the_old_version_table_stays(empty_database_url):
    old_ledger(empty_database_url, "0004", beside=["a1b2c3"])
    assert migrate(empty_database_url) == head()
    assert ask(empty_database_url, "SELECT version_num FROM alembic_version") == [("a1b2c3",)]


@pytest.mark.parametrize("its_head", ["0004", "0005", "9999", "a1b2c3"])
def test_an_applications_history_is_neither_read_nor_written(empty_database_url, its_head):
    do(
        empty_database_url,
        "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)",
        f"INSERT INTO alembic_version VALUES ('{its_head}')",
        "CREATE TABLE episodes (title text)",
        "CREATE TABLE sweep_state (title text)",
        "CREATE DOMAIN episode_outcome AS text",
    )
    assert migrate(empty_database_url) == head()
    with Engine(settings(empty_database_url)) as engine:
        run = engine.start("plain", ["tests.episodes.steps:Works"])
        engine.run(run.id)
        assert engine.get(run.id).status == "completed"
        assert engine.audit() == []
    assert migrate(empty_database_url, "base") == "base"
    assert ask(empty_database_url, "SELECT version_num FROM alembic_version") == [(its_head,)]
    assert {"episodes", "sweep_state"} <= tables(empty_database_url, "public")


def test_every_name_of_ours_begins_with_saga(empty_database_url):
    migrate(empty_database_url)
    found = ask(
        empty_database_url,
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " UNION ALL SELECT typname FROM pg_type WHERE typnamespace = 'public'::regnamespace AND typname !~ '^_'"
        " UNION ALL SELECT conname FROM pg_constraint WHERE connamespace = 'public'::regnamespace",
    )
    assert [name for (name,) in found if not name.startswith(("saga_", "sagaworker_"))] == []
    assert tables(empty_database_url, "public") == {*TABLES, "sagaworker_version"}


@pytest.mark.parametrize("name", STATEMENTS)
def test_every_statement_says_the_schema_before_each_table(name):
    words = sql(name, "of_sagas").decode().replace(",", " ").split()
    bare = [f"{before} {word}" for before, word in itertools.pairwise(words) if word in TABLES]
    assert bare == []


def test_a_schema_of_its_own_holds_all_and_nobodys_search_path_decides(empty_database_url):
    url = empty_database_url
    assert migrate(url, schema="Of Sagas".replace(" ", "_")) == head()
    assert tables(url, "public") == set()
    do(url, EVIL)
    with Engine(settings(url, schema="Of_Sagas")) as engine:
        engine.check_schema()
        with psycopg.connect(url) as connection:
            connection.execute("SET search_path = elsewhere")
            run = engine.start("plain", ["tests.episodes.steps:Works"], key="one", connection=connection)
            again = engine.start("plain", ["tests.episodes.steps:Works"], key="one", connection=connection)
        assert again.id == run.id
        engine.run(run.id)
        assert engine.timeline(run.id).run.status == "completed"
        assert [found.id for found in engine.list(kind="plain")] == [run.id]
        engine.sweep()
        assert engine.audit() == []
    assert ask(url, "SELECT count(*) FROM elsewhere.saga_runs") == [(0,)]


def test_a_role_whose_search_path_leads_elsewhere_keeps_its_ledger_there(empty_database_url):
    do(empty_database_url, EVIL.split(";", maxsplit=1)[0])
    url = empty_database_url + ("&" if "?" in empty_database_url else "?") + "options=-csearch_path%3Delsewhere"
    assert migrate(url) == head()
    assert "saga_runs" in tables(empty_database_url, "elsewhere")


def test_a_database_without_a_schema_to_go_to_is_refused_with_a_sentence(empty_database_url):
    name = psycopg.conninfo.conninfo_to_dict(empty_database_url)["dbname"]
    do(empty_database_url, f'ALTER DATABASE "{name}" SET search_path = nowhere')
    with pytest.raises(InvalidSetting, match="got a search_path without one"):
        migrate(empty_database_url)


@pytest.mark.parametrize("schema", ["", "1st", "pg_mine", "a b", 'a"b', "a" * 64, "a.b"])
def test_a_schema_that_is_none_is_refused(schema):
    if schema == "":
        assert Settings.from_env({"SAGAWORKER_SCHEMA": ""}).schema is None
        return
    with pytest.raises(InvalidSetting, match="SAGAWORKER_SCHEMA must be a PostgreSQL schema"):
        Settings.from_env({"SAGAWORKER_SCHEMA": schema})


def test_an_applications_autogenerate_leaves_our_tables_alone(empty_database_url):
    migrate(empty_database_url)
    do(empty_database_url, "CREATE TABLE saga_stories (title text)")
    engine = sa.create_engine(sqlalchemy_url(empty_database_url), poolclass=sa.NullPool)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_name": include_name})
        changes = compare_metadata(context, sa.MetaData())
    assert [(what, table.name) for what, table in changes if what == "remove_table"] == [
        ("remove_table", "saga_stories")
    ]
    assert set(metadata.tables) == set(TABLES)
