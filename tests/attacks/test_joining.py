"""Starting inside a caller's transaction, however it is made: the saga follows it, the bell follows the commit."""

import asyncio

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.rows import dict_row, namedtuple_row
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from sagaworker import InvalidInput
from sagaworker.engine import Engine
from sagaworker.ledger.url import sqlalchemy_url


@pytest.fixture
def rung():
    return []


@pytest.fixture
def engine(settings, rung):
    with Engine(settings, ring=lambda bells: rung.extend(bell.saga_id for bell in bells)) as engine:
        yield engine


@pytest.fixture
def users(database_url):
    users = sa.create_engine(sqlalchemy_url(database_url))
    yield users
    users.dispose()


def ids(engine):
    return [run.id for run in engine.list(order="asc")]


def test_a_saga_started_in_a_savepoint_is_rung_after_the_outer_commit_only(engine, users, rung):
    with Session(users) as session:
        with session.begin_nested():
            run = engine.start("t", ["steps.echo"], connection=session)
        assert rung == []
        session.commit()
        assert rung == [run.id]
    assert ids(engine) == [run.id]


def test_a_savepoint_that_is_rolled_back_takes_its_saga_with_it_and_no_other(engine, users, rung):
    with Session(users) as session:
        kept = engine.start("t", ["steps.echo"], connection=session)
        nested = session.begin_nested()
        engine.start("t", ["steps.echo"], connection=session)
        nested.rollback()
        session.commit()
    assert ids(engine) == rung == [kept.id]


def test_savepoints_of_a_connection_behave_alike(engine, users, rung):
    with users.connect() as connection:
        kept = engine.start("t", ["steps.echo"], connection=connection)
        nested = connection.begin_nested()
        engine.start("t", ["steps.echo"], connection=connection)
        nested.rollback()
        connection.commit()
    assert ids(engine) == rung == [kept.id]


def test_a_session_inside_a_connections_transaction_follows_the_connection(engine, users, rung):
    with users.connect() as connection, connection.begin() as outer:
        with Session(connection, join_transaction_mode="create_savepoint") as session:
            engine.start("t", ["steps.echo"], connection=session)
            session.commit()
        assert rung == []
        outer.rollback()
    assert (rung, ids(engine)) == ([], [])


def test_a_session_is_rung_once_for_each_commit_it_makes(engine, users, rung):
    with Session(users) as session:
        runs = []
        for _ in range(3):
            runs.append(engine.start("t", ["steps.echo"], connection=session).id)
            session.commit()
            assert rung == runs
        engine.start("t", ["steps.echo"], connection=session)
        session.rollback()
        session.commit()
        assert rung == runs


def test_a_bell_that_fails_does_not_fail_the_callers_commit(settings, users):
    def ring(_bells):
        raise ConnectionError("no broker")

    with Engine(settings, ring=ring) as engine, Session(users) as session:
        run = engine.start("t", ["steps.echo"], connection=session)
        engine.close()
        session.commit()
        assert ids(engine) == [run.id]


@pytest.mark.parametrize("make", [sa.Engine.connect, Session])
def test_a_commit_that_fails_rings_nothing_and_the_commits_around_it_are_rung(engine, users, rung, make):
    with users.begin() as connection:
        connection.execute(sa.text("CREATE TABLE told (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)"))
        connection.execute(sa.text("INSERT INTO told VALUES (1)"))
    with make(users) as connection:
        before = engine.start("t", ["steps.echo"], connection=connection)
        connection.commit()
        engine.start("t", ["steps.echo"], connection=connection)
        connection.execute(sa.text("INSERT INTO told VALUES (1)"))
        with pytest.raises(sa.exc.IntegrityError):
            connection.commit()
        connection.rollback()
        after = engine.start("t", ["steps.echo"], connection=connection)
        connection.commit()
        with pytest.raises(sa.exc.ProgrammingError):
            connection.execute(sa.text("SELECT nothing"))
    assert rung == ids(engine) == [before.id, after.id]


def test_a_commit_whose_connection_is_lost_rings_nothing(engine, users, rung, database_url):
    with users.connect() as connection:
        engine.start("t", ["steps.echo"], connection=connection)
        pid = connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
        with psycopg.connect(database_url, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
        with pytest.raises(sa.exc.OperationalError):
            connection.commit()
    assert (rung, ids(engine)) == ([], [])


def test_a_connection_that_is_lost_after_a_commit_rings_what_was_committed(engine, users, rung, database_url):
    with users.connect() as connection:
        run = engine.start("t", ["steps.echo"], connection=connection)
        connection.commit()
        pid = connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
        with psycopg.connect(database_url, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
        with pytest.raises(sa.exc.OperationalError):
            connection.rollback()
    assert rung == ids(engine) == [run.id]


def test_a_scoped_session_is_a_session(engine, users, rung):
    session = scoped_session(sessionmaker(users))
    run = engine.start("t", ["steps.echo"], connection=session)
    session.commit()
    session.remove()
    assert rung == [run.id]


@pytest.mark.parametrize("row_factory", [dict_row, namedtuple_row])
def test_a_connection_with_rows_of_its_own_is_joined(engine, database_url, row_factory):
    with psycopg.connect(database_url, row_factory=row_factory, cursor_factory=psycopg.ClientCursor) as connection:
        run = engine.start("t", ["steps.echo"], key="k", connection=connection)
        assert engine.start("t", ["steps.echo"], key="k", connection=connection).id == run.id
    assert ids(engine) == [run.id]


def test_a_connection_with_a_raw_cursor_is_joined(engine, database_url):
    with psycopg.connect(database_url, cursor_factory=psycopg.RawCursor) as connection:
        run = engine.start("t", ["steps.echo"], connection=connection)
    assert ids(engine) == [run.id]


def refused(engine, connection, said):
    with pytest.raises(InvalidInput, match=said):
        engine.start("t", ["steps.echo"], connection=connection)


def test_a_transaction_that_has_failed_is_refused_in_one_sentence(engine, database_url, users):
    with psycopg.connect(database_url) as connection:
        with pytest.raises(psycopg.errors.UndefinedColumn):
            connection.execute("SELECT nothing")
        refused(engine, connection, "connection must be in a transaction that can go on")
        connection.rollback()
    for make in (Session, sa.Engine.connect):
        with make(users) as connection:
            with pytest.raises(sa.exc.ProgrammingError):
                connection.execute(sa.text("SELECT nothing"))
            refused(engine, connection, "connection must be in a transaction that can go on")
            connection.rollback()


def test_a_connection_that_is_closed_or_not_begun_is_refused_in_one_sentence(engine, database_url, users):
    connection = psycopg.connect(database_url)
    connection.close()
    refused(engine, connection, "connection must be in a transaction that can go on")
    with users.connect() as connection:
        pass
    refused(engine, connection, "connection must be in a transaction that can go on")
    with Session(users, autobegin=False) as session:
        refused(engine, session, "connection must be in a transaction that can go on")
        with session.begin():
            engine.start("t", ["steps.echo"], connection=session)
    assert len(ids(engine)) == 1
    with Session() as session:
        refused(engine, session, "connection must be in a transaction that can go on")


def test_asynchronous_and_foreign_connections_are_refused_in_one_sentence(engine, database_url):
    said = "must be a SQLAlchemy Connection or Session over psycopg 3"
    with sa.create_engine("sqlite://").connect() as connection:
        refused(engine, connection, said)

    async def asynchronous():
        async with await psycopg.AsyncConnection.connect(database_url) as connection:
            refused(engine, connection, said)

    asyncio.run(asynchronous())
    assert ids(engine) == []


def test_an_asynchronous_session_is_refused_in_one_sentence(engine, database_url):
    pytest.importorskip("greenlet")
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

    session = AsyncSession(create_async_engine(sqlalchemy_url(database_url)))
    refused(engine, session, "must be a SQLAlchemy Connection or Session")


def test_two_phases_are_one_commit(engine, users, rung, database_url):
    with users.connect() as connection:
        if connection.execute(sa.text("SHOW max_prepared_transactions")).scalar_one() == "0":
            pytest.skip("the server prepares no transactions")
        connection.rollback()
        with connection.begin_twophase() as outer:
            run = engine.start("t", ["steps.echo"], connection=connection)
            outer.prepare()
            assert ids(engine) == []
            outer.commit()
    assert (rung, ids(engine)) == ([run.id], [run.id])


def test_a_refused_request_leaves_the_callers_transaction_as_it_was(engine, users):
    with Session(users) as session:
        kept = engine.start("t", ["steps.echo"], inputs={"n": 1}, key="k", connection=session)
        for bad in ({"inputs": {"n": 2}, "key": "k"}, {"inputs": 7}, {"wait": 1}):
            with pytest.raises(Exception, match=r"must|cannot"):
                engine.start("t", ["steps.echo"], connection=session, **bad)
        session.commit()
    assert ids(engine) == [kept.id]
