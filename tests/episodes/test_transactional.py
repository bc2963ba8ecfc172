"""TRANSACTIONAL steps: what they write and that they completed are one commit."""

import os
from datetime import timedelta

import psycopg
import pytest

from sagaworker import RetryPolicy, StepFailed
from sagaworker.domain.status import RunStatus, StepStatus
from sagaworker.episodes import HostPlace, ThreadPlace
from sagaworker.ledger.database import Database
from sagaworker.ledger.step_transaction import StepTransaction
from tests.episodes import steps
from tests.holding import claimed, expire
from tests.showing import timeline

S = "tests.episodes.steps:"
ROLE = f"tenant_{os.getpid()}"  # roles are the server's, not the database's


@pytest.fixture
def effects(engine):
    """What the steps wrote, as saga and attempt."""
    url = engine.settings.database_url
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE effects (saga_id uuid, attempt int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
        steps.Transacts.hook = None
        yield lambda: connection.execute("SELECT attempt FROM effects ORDER BY 1").fetchall()


def walked(engine, *names):
    return engine.run(engine.start("t", [S + name for name in names]).id)


@pytest.mark.parametrize("names", [["Transacts"], ["Transacts", "Works"], ["Works", "Transacts", "Works"]])
def test_what_it_writes_is_committed_with_its_record(engine, effects, names):
    run = walked(engine, *names)
    assert run.status is RunStatus.COMPLETED, timeline(engine, run.id)
    assert effects() == [(1,)]
    assert run.context["last"] == len(names) - 1


@pytest.mark.parametrize("problem", [StepFailed("no"), RuntimeError("odd"), SystemExit(3)])
def test_whatever_it_raises_is_rolled_back_and_definite(engine, effects, problem):
    def raises(_state):
        raise problem

    steps.Transacts.hook = raises
    run = walked(engine, "Works", "Transacts")
    row = engine.list_step_results(run.id)[1]
    assert (run.status, row.status, row.in_doubt) == (RunStatus.ROLLED_BACK, StepStatus.FAILED, 0)
    assert effects() == []
    assert steps.EFFECTS == ["execute 0", "undo 0 completed last=0"]


def test_a_later_failure_undoes_it_like_any_other(engine, effects):
    run = walked(engine, "Transacts", "Declines")
    assert run.status is RunStatus.ROLLED_BACK
    assert steps.EFFECTS == ["execute 0", "undo 0 completed last=0"]


@pytest.mark.parametrize(
    "ends",
    [
        lambda connection: connection.commit(),
        lambda connection: connection.rollback(),
        lambda connection: connection.close(),
        lambda connection: setattr(connection, "autocommit", True),
        lambda connection: connection.__enter__(),
    ],
)
def test_to_end_the_transaction_is_refused(engine, effects, ends):
    steps.Transacts.hook = lambda state: ends(state.connection)
    run = walked(engine, "Transacts")
    row = engine.list_step_results(run.id)[0]
    assert (run.status, row.in_doubt) == (RunStatus.ROLLED_BACK, 0)
    assert "must stay in the transaction" in row.error["message"]
    assert effects() == []


def test_a_transaction_that_was_ended_by_a_statement_leaves_the_step_in_doubt_and_undone(engine, effects):
    steps.Transacts.hook = lambda state: state.connection.execute("COMMIT")
    run = walked(engine, "Transacts")
    row = engine.list_step_results(run.id)[0]
    assert (run.status, row.in_doubt) == (RunStatus.ROLLED_BACK, 1)
    assert "must leave its transaction open" in row.error["message"]
    assert steps.EFFECTS[-1] == "undo 0 unknown last=None"


def _fails(connection, _url):
    connection.execute("SELECT 1 / 0")


def _is_lost(connection, url):
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", (connection.info.backend_pid,))
    connection.execute("SELECT 1")


@pytest.mark.parametrize("statements", [["COMMIT"], ["ROLLBACK", "INSERT", "COMMIT"], ["COMMIT AND CHAIN"]])
@pytest.mark.parametrize("afterwards", [_fails, _is_lost])
@pytest.mark.parametrize("becomes", [psycopg.Error, StepFailed, None])
def test_one_that_was_ended_is_in_doubt_whatever_came_afterwards(engine, effects, statements, afterwards, becomes):
    def ends(state):
        for statement in statements:
            state.connection.execute(statement.replace("INSERT", "INSERT INTO effects (attempt) VALUES (1)"))
        try:
            afterwards(state.connection, engine.settings.database_url)
        except psycopg.Error:
            if becomes is psycopg.Error:
                raise
            if becomes:
                raise becomes("no") from None

    steps.Transacts.hook = ends
    run = walked(engine, "Transacts")
    assert (run.status, engine.list_step_results(run.id)[0].in_doubt) == (RunStatus.ROLLED_BACK, 1)
    assert effects() == [(1,)]
    assert steps.EFFECTS[-1] == "undo 0 unknown last=None"


@pytest.mark.parametrize("afterwards", [_fails, _is_lost])
def test_one_that_was_not_ended_and_failed_or_was_lost_is_definite(engine, effects, afterwards):
    steps.Transacts.hook = lambda state: afterwards(state.connection, engine.settings.database_url)
    run = walked(engine, "Transacts")
    assert (run.status, engine.list_step_results(run.id)[0].in_doubt) == (RunStatus.ROLLED_BACK, 0)
    assert effects() == []


@pytest.fixture
def transaction(engine):
    database = Database(engine.settings.database_url)
    with StepTransaction(database, timeout=timedelta(seconds=60), grace=timedelta(0)) as transaction:
        yield transaction
    database.close()


def test_one_whose_server_has_not_noticed_that_its_client_is_gone_is_ended_and_definite(engine, transaction):
    line = transaction.connection.pgconn
    line.send_query(b"SELECT pg_sleep(60)")
    line.finish()
    assert not transaction.was_ended
    with psycopg.connect(engine.settings.database_url) as other:
        asleep = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND backend_xid IS NOT NULL"
        assert other.execute(asleep).fetchone() == (0,)


def test_one_that_was_lost_is_in_doubt_where_nobody_can_be_asked(transaction, monkeypatch):
    def unreachable(_self):
        raise psycopg.OperationalError("no route to host")

    monkeypatch.setattr(Database, "checkout", unreachable)
    monkeypatch.setattr("sagaworker.ledger.step_transaction._FATE_PATIENCE", 0)
    transaction.close()
    assert transaction.was_ended


def test_a_savepoint_is_the_steps_own(engine, effects):
    def tries(state):
        with pytest.raises(psycopg.errors.DivisionByZero), state.connection.transaction():
            state.connection.execute("SELECT 1 / 0")

    steps.Transacts.hook = tries
    assert walked(engine, "Transacts").status is RunStatus.COMPLETED
    assert effects() == [(1,)]


@pytest.mark.parametrize("local", ["LOCAL", "SESSION"])
@pytest.mark.parametrize(
    "setting",
    [
        "search_path TO tenant",
        "ROLE {role}",
        "SESSION AUTHORIZATION {role}",
        "client_encoding TO sql_ascii",
        "datestyle TO german",
    ],
)
def test_what_it_sets_for_itself_is_not_in_the_way_of_the_record(engine, effects, tenant, setting, local):
    def sets(state):
        state.connection.execute(f"SET {local} {setting.format(role=ROLE)}")
        state.connection.execute("INSERT INTO tenant.notes VALUES (1)")

    steps.Transacts.hook = sets
    run = walked(engine, "Transacts", "Works")
    assert run.status is RunStatus.COMPLETED, timeline(engine, run.id)
    assert (effects(), tenant("SELECT n FROM tenant.notes")) == ([(1,)], [(1,)])


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_it_is_recorded_after_a_note_of_its_own_whatever_isolation_the_database_defaults_to(engine, effects, isolation):
    with psycopg.connect(engine.settings.database_url, autocommit=True) as other:
        other.execute(
            f"ALTER DATABASE {other.info.dbname} SET default_transaction_isolation TO '{isolation}'",
        )
    steps.Transacts.hook = lambda state: engine.upsert_step_result(
        state.saga_id, state.step_idx, fence=state.fence, output={"page": 7}
    )
    run = walked(engine, "Transacts", "Works")
    assert run.status is RunStatus.COMPLETED, timeline(engine, run.id)
    assert effects() == [(1,)]


def test_what_it_deferred_sees_what_it_set(engine, effects, tenant):
    def sets(state):
        state.connection.execute("SET LOCAL search_path TO tenant")
        state.connection.execute("INSERT INTO watched VALUES (2)")

    steps.Transacts.hook = sets
    run = walked(engine, "Transacts")
    assert run.status is RunStatus.COMPLETED, timeline(engine, run.id)
    assert tenant("SELECT n FROM tenant.notes") == [(2,)]


@pytest.fixture
def tenant(engine):
    """A schema and a role that know nothing of the ledger; asks there what was written."""
    with psycopg.connect(engine.settings.database_url, autocommit=True) as connection:
        connection.execute(f"""
            CREATE ROLE {ROLE};
            CREATE SCHEMA tenant AUTHORIZATION {ROLE};
            SET ROLE {ROLE};
            CREATE TABLE tenant.notes (n int);
            CREATE TABLE tenant.watched (n int);
            CREATE FUNCTION tenant.note() RETURNS trigger LANGUAGE plpgsql
              AS 'BEGIN INSERT INTO notes VALUES (NEW.n); RETURN NULL; END';
            CREATE CONSTRAINT TRIGGER noted AFTER INSERT ON tenant.watched DEFERRABLE INITIALLY DEFERRED
              FOR EACH ROW EXECUTE FUNCTION tenant.note();
            RESET ROLE;
        """)
        yield lambda query: connection.execute(query).fetchall()
        connection.execute(f"DROP OWNED BY {ROLE}; DROP ROLE {ROLE}")


def test_what_postgresql_refuses_at_the_commit_fails_the_step(engine, effects):
    steps.Transacts.hook = lambda state: state.connection.execute("INSERT INTO effects (attempt) VALUES (1)")
    run = walked(engine, "Transacts", "Works")
    row = engine.list_step_results(run.id)[0]
    assert (run.status, row.in_doubt, row.error["kind"]) == (RunStatus.ROLLED_BACK, 0, "UniqueViolation")
    assert effects() == []


def test_a_failed_statement_that_the_step_swallowed_fails_it(engine, effects):
    def swallows(state):
        with pytest.raises(psycopg.Error):
            state.connection.execute("SELECT 1 / 0")

    steps.Transacts.hook = swallows
    run = walked(engine, "Transacts")
    assert engine.list_step_results(run.id)[0].error["kind"] == "InFailedSqlTransaction"
    assert effects() == []


def test_its_time_out_is_the_servers(engine, effects, monkeypatch):
    monkeypatch.setattr(steps.Transacts, "TIMEOUT", 1)
    steps.Transacts.hook = lambda state: state.connection.execute("SELECT pg_sleep(20)")
    run = engine.start("t", [S + "Transacts"])
    # In a thread, where no signal of ours interrupts it.
    assert engine.run_episode(run.id, place=ThreadPlace()).outcome == "rolled_back"
    row = engine.list_step_results(run.id)[0]
    assert (row.in_doubt, row.error["kind"]) == (0, "QueryCanceled")


def test_a_connection_lost_in_the_step_costs_another_attempt(engine, effects):
    def lost(state):
        if state.attempt == 1:
            pid = state.connection.info.backend_pid
            with psycopg.connect(engine.settings.database_url, autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s)", (pid,))

    steps.Transacts.hook = lost
    run = walked(engine, "Works", "Transacts")
    assert run.status is RunStatus.COMPLETED, timeline(engine, run.id)
    assert effects() == [(2,)]
    assert engine.list_step_results(run.id)[1].in_doubt == 0


def test_connections_lost_in_the_step_use_up_none_of_its_own_tries(engine, effects):
    def lost_twice_then_raises(state):
        if state.attempt > 8:
            raise StepFailed("it is tried for ever")
        if state.attempt > 2:
            raise RuntimeError("its own failure")
        with psycopg.connect(engine.settings.database_url, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s)", (state.connection.info.backend_pid,))

    steps.TransactsInTwoTries.hook = lost_twice_then_raises
    run = walked(engine, "TransactsInTwoTries")
    row = engine.list_step_results(run.id)[0]
    assert (run.status, row.attempts, row.failed_attempts) == (RunStatus.ROLLED_BACK, 4, 1), timeline(engine, run.id)
    assert effects() == []
    assert engine.audit() == []


@pytest.mark.parametrize("landed", [True, False])
@pytest.mark.parametrize("after", [["Works"], []])
def test_a_commit_whose_answer_is_lost_is_found_out(engine, effects, monkeypatch, landed, after):
    record = StepTransaction.record
    lost = []

    def lossy(self, name, parameters):
        row = record(self, name, parameters) if landed or lost else None
        if not lost:
            lost.append(1)
            self.close()
            raise psycopg.OperationalError("the line broke")
        return row

    monkeypatch.setattr(StepTransaction, "record", lossy)
    run = walked(engine, "Transacts", *after)
    assert run.status is RunStatus.COMPLETED, timeline(engine, run.id)
    assert effects() == [(1 if landed else 2,)]
    assert run.context["out_0"] == (1 if landed else 2)


def test_a_worker_that_died_in_it_leaves_no_doubt_and_it_is_begun_again(engine, effects):
    run = engine.start("t", [S + "Transacts"], recovery_policy="restart")
    claimed(engine, run.id).close()
    engine.take_over_dead(engine.owner)
    assert engine.run(run.id).status is RunStatus.COMPLETED
    row = engine.list_step_results(run.id)[0]
    assert (row.attempts, row.in_doubt, row.recoveries) == (2, 0, 1)


@pytest.mark.parametrize("how", ["policy", "cancel"])
def test_one_that_died_is_not_undone_for_it_was_rolled_back(engine, effects, how):
    run = engine.start("t", [S + "Transacts"], recovery_policy="compensate" if how == "policy" else "restart")
    claimed(engine, run.id).close()
    engine.take_over_dead(engine.owner)
    if how == "cancel":
        engine.cancel(run.id)
    assert engine.run(run.id).status is RunStatus.ROLLED_BACK, timeline(engine, run.id)
    assert engine.list_step_results(run.id)[0].status is StepStatus.SKIPPED
    assert steps.EFFECTS == []


def test_one_that_died_and_was_let_go_again_is_skipped_by_a_cancel_and_the_ledger_is_sound(engine, effects):
    run = engine.start("t", [S + "Transacts"], recovery_policy="restart")
    claimed(engine, run.id).close()
    engine.take_over_dead(engine.owner)
    stops = iter([False])
    assert engine.run_episode(run.id, place=HostPlace(), should_stop=lambda: next(stops, True)).outcome == "yielded"
    engine.cancel(run.id)
    assert engine.run(run.id).status is RunStatus.ROLLED_BACK, timeline(engine, run.id)
    row = engine.list_step_results(run.id)[0]
    assert (row.status, row.attempts, row.in_doubt) == (StepStatus.SKIPPED, 1, 0)
    assert engine.audit() == []


def test_a_worker_that_was_given_up_in_the_middle_commits_nothing(engine, effects):
    def given_up(state):
        if state.attempt == 1:
            expire(engine, state.saga_id)
            assert engine.sweep().restarted == 1

    steps.Transacts.hook = given_up
    run = engine.start("t", [S + "Transacts", S + "Works"], recovery_policy="restart")
    engine.run(run.id)
    assert effects() == []
    assert engine.run(run.id).status is RunStatus.COMPLETED, timeline(engine, run.id)
    assert effects() == [(2,)]


def test_a_cancel_that_came_meanwhile_turns_it_round_with_its_output(engine, effects):
    steps.Transacts.hook = lambda state: engine.cancel(state.saga_id)
    run = walked(engine, "Transacts", "Works")
    assert run.status is RunStatus.ROLLED_BACK
    assert steps.EFFECTS == ["execute 0", "undo 0 completed last=0"]


def test_an_ordinary_step_and_an_undo_have_no_connection(engine, effects, monkeypatch):
    said = "must be asked for in execute of a TRANSACTIONAL step"
    steps.Calls.hook = lambda state: state.connection
    run = walked(engine, "Calls")
    assert said in engine.list_step_results(run.id)[0].error["message"]
    monkeypatch.setattr(steps.Transacts, "COMPENSATE_RETRY", RetryPolicy(max_attempts=1), raising=False)
    monkeypatch.setattr(steps.Transacts, "compensate", lambda _self, state: state.connection)
    run = walked(engine, "Transacts", "Declines")
    row = engine.list_step_results(run.id)[0]
    assert (run.status, row.status) == (RunStatus.FAILED, StepStatus.COMPENSATION_FAILED)
    assert said in row.error["message"]


def test_a_search_path_that_a_step_sets_does_not_decide_where_its_record_goes(engine, effects, monkeypatch):
    def leave(state):
        state.connection.execute("CREATE SCHEMA elsewhere")
        state.connection.execute("CREATE TABLE elsewhere.saga_step_results (LIKE saga_step_results)")
        state.connection.execute("CREATE TABLE elsewhere.saga_runs (LIKE saga_runs)")
        state.connection.execute("SET search_path = elsewhere")

    monkeypatch.setattr(steps.Transacts, "hook", staticmethod(leave))
    run = walked(engine, "Transacts", "Works")
    assert run.status == "completed", timeline(engine, run.id)
