"""The database goes away, comes back, refuses or hangs: no completed step is lost while the lease lives, and after it
the saga is taken over and ends."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import psycopg
import pytest

from sagaworker import RetryPolicy
from sagaworker.embedded import EmbeddedPostgres
from sagaworker.engine import Engine
from sagaworker.episodes import HostPlace, ThreadPlace, episode
from sagaworker.episodes.heartbeat import Heartbeat
from sagaworker.errors import Fenced
from sagaworker.ledger import lease, session
from sagaworker.ledger.line import Line
from sagaworker.ledger.migrate import migrate
from sagaworker.ledger.outage import OUTAGE
from sagaworker.settings import Settings
from tests.attacks import odd_steps
from tests.holding import claimed, expire
from tests.servers import DatabaseServer
from tests.showing import timeline
from tests.waiting import PATIENCE, wait_until

S = "tests.attacks.odd_steps:"


@pytest.fixture(scope="module")
def postgres(server_folder):
    """A server that keeps what it committed when it is killed, though not when the machine is."""
    with EmbeddedPostgres(server_folder / "killed", durable=False) as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("ALTER ROLE ALL SET synchronous_commit = on")
            connection.execute("CHECKPOINT")
        yield server


@pytest.fixture
def server_url(postgres):
    server = DatabaseServer(postgres.url)
    name = server.create()
    migrate(server.url_of(name))
    yield server.url_of(name)
    server.drop(name)


@pytest.fixture
def engine(server_url, monkeypatch):
    monkeypatch.setattr(odd_steps.Calls, "TOMBSTONE", True, raising=False)
    settings = Settings.from_env(
        {},
        database_url=server_url,
        step_packages=("steps", "tests.attacks"),
        lease=60.0,
        sweep_interval=0.2,
        step_grace=0.2,
    )
    odd_steps.EFFECTS.clear()
    with Engine(settings) as engine:
        yield engine
        assert engine.audit() == []


def hooked(monkeypatch, hook):
    monkeypatch.setattr(odd_steps.Calls, "hook", staticmethod(hook))


def down(postgres, seconds):
    """Kill the server; it comes back that much later, by itself."""
    postgres.kill()
    back = threading.Timer(seconds, postgres.start)
    back.start()
    return back


def test_a_server_that_is_back_before_the_lease_is_over_costs_nothing(engine, postgres, monkeypatch):
    back = []
    hooked(monkeypatch, lambda state: back.append(down(postgres, 0.5)) if state.step_idx == 1 else None)
    run = engine.start("t", [S + "Calls"] * 3)
    end = engine.run_episode(run.id, place=HostPlace())
    back[0].join()
    assert end.outcome == "completed", timeline(engine, run.id)
    assert [row.attempts for row in engine.list_step_results(run.id)] == [1, 1, 1]
    assert len(engine.timeline(run.id).episodes) == 1


def test_the_hard_end_of_a_step_does_not_strike_in_what_is_recorded_about_one(engine, postgres, monkeypatch):
    """The outage is longer than TIMEOUT and grace together, and shorter than the lease: nothing that was done is lost."""
    back, struck = [], []
    monkeypatch.setattr(odd_steps.Calls, "TIMEOUT", 0.3, raising=False)

    def hook(state):
        if state.step_idx == 1:
            back.append(down(postgres, 1.5))

    hooked(monkeypatch, hook)
    run = engine.start("t", [S + "Calls"] * 3)
    end = engine.run_episode(run.id, place=ThreadPlace(on_stuck=lambda: struck.append(run.id)))
    back[0].join()
    assert struck == []
    assert end.outcome == "yielded", timeline(engine, run.id)
    assert engine.run(run.id).status == "completed", timeline(engine, run.id)
    assert [(row.attempts, row.in_doubt) for row in engine.list_step_results(run.id)] == [(1, 0)] * 3
    assert [f"execute {idx}" for idx in range(3)] == odd_steps.EFFECTS


def test_a_server_that_goes_while_a_retry_waits_costs_nothing(engine, postgres, monkeypatch):
    back = []
    monkeypatch.setattr(odd_steps.Calls, "RETRY", RetryPolicy(max_attempts=2, base=0.5, jitter=False), raising=False)

    def sleep(seconds):
        """The wait for the retry, as the walker comes to it."""
        if not back:
            back.append(down(postgres, 0.6))
        time.sleep(seconds)  # noqa: TID251 - it is the walker's own

    monkeypatch.setattr(episode, "time", SimpleNamespace(monotonic=time.monotonic, sleep=sleep))
    hooked(monkeypatch, lambda state: (_ for _ in ()).throw(ConnectionError()) if state.attempt == 1 else None)
    run = engine.start("t", [S + "Calls"])
    end = engine.run_episode(run.id, place=HostPlace())
    back[0].join()
    assert end.outcome == "completed", timeline(engine, run.id)
    assert (engine.list_step_results(run.id)[0].attempts, len(engine.timeline(run.id).episodes)) == (2, 1)


def test_a_server_that_goes_during_an_undo_costs_nothing(engine, postgres, monkeypatch):
    back = []
    monkeypatch.setattr(
        odd_steps.Calls, "compensate", lambda _self, state: back.append(down(postgres, 0.5)) if not back else None
    )
    run = engine.start("t", [S + "Calls", S + "Calls", "steps.fail"])
    end = engine.run_episode(run.id, place=HostPlace())
    back[0].join()
    assert end.outcome == "rolled_back", timeline(engine, run.id)
    assert [row.compensation_attempts for row in engine.list_step_results(run.id)] == [1, 1, 0]


def test_a_server_that_is_away_for_two_leases_fences_the_walker_and_the_saga_ends(engine, postgres, monkeypatch):
    back, leases = [], []
    monkeypatch.setattr(Heartbeat, "add", lambda _self, hold: leases.append(hold.lease))

    def away(_state):
        if not back:
            back.append(down(postgres, 0.5))
            leases[0].sent_at -= 2 * leases[0].duration.total_seconds()  # as if it had been that long

    hooked(monkeypatch, away)
    run = engine.start("t", [S + "Calls"] * 2)
    assert engine.run_episode(run.id, place=HostPlace()).outcome == "fenced"
    back[0].join()
    expire(engine, run.id)
    assert engine.sweep().restarted == 1
    assert engine.run(run.id).status == "completed", timeline(engine, run.id)
    assert engine.list_step_results(run.id)[0].in_doubt == 1


WHY = {"reason": "asked the bank", "who": "ann"}


class Prepared:
    """Sagas for the reads and moves of one engine, each in the state that its move wants."""

    def __init__(self, engine):
        self.engine = engine
        self.run = self._started()
        self.walked, self.cancelled, self.held, self.rung = (self._started() for _ in range(4))
        self.released = engine.hold(self._started(), **WHY).id
        self.retried, self.skipped, self.resolved = (self._doubted() for _ in range(3))
        self.orphan = self._started()
        claimed(engine, self.orphan).close()
        expire(engine, self.orphan)
        self.dead = "00000000-0000-4000-8000-000000000001"
        with Engine(engine.settings) as other:
            other.owner = self.dead
            claimed(other, self._started()).close()

    def _started(self):
        return self.engine.start("t", ["steps.echo"]).id

    def _doubted(self):
        saga_id = self.engine.start("t", [S + "Calls"], recovery_policy="restart").id
        claimed(self.engine, saga_id).close()
        self.engine.take_over_dead(self.engine.owner)
        assert self.engine.run(saga_id).waiting_for == "operator"
        return saga_id

    def joined(self):
        with psycopg.connect(self.engine.settings.database_url) as connection:
            return self.engine.start("t", ["steps.echo"], connection=connection).id

    def noted(self):
        with pytest.raises(Fenced):
            self.engine.upsert_step_result(self.run, 0, fence=99, output={})
        return True


# Each asked of an engine whose connections all died with the server: what makes its answer right.
ASKS = {
    "id_of": lambda engine, sagas: engine.id_of(sagas.run[:13]) == sagas.run,
    "get": lambda engine, sagas: engine.get(sagas.run).status == "pending",
    "list": lambda engine, _: engine.list(),
    "list_step_results": lambda engine, sagas: len(engine.list_step_results(sagas.resolved)) == 1,
    "timeline": lambda engine, sagas: engine.timeline(sagas.run).journal,
    "explain": lambda engine, sagas: engine.explain(sagas.run).text,
    "undo_list": lambda engine, sagas: engine.undo_list(sagas.run) == [],
    "list_stale_running": lambda engine, sagas: sagas.orphan in {run.id for run in engine.list_stale_running()},
    "audit": lambda engine, _: engine.audit() is not None,
    "check_schema": lambda engine, _: engine.check_schema() is None,
    "ledger_id_now": lambda engine, _: engine.ledger_id_now(),
    "start": lambda engine, _: engine.start("t", ["steps.echo"]).id,
    "start joined": lambda _, sagas: sagas.joined(),
    "start_many": lambda engine, _: len(engine.start_many([{"kind": "t", "steps": ["steps.echo"]}] * 2)) == 2,
    "cancel": lambda engine, sagas: engine.cancel(sagas.cancelled) == "cancelled",
    "hold": lambda engine, sagas: engine.hold(sagas.held, **WHY).waiting_for == "hold",
    "release": lambda engine, sagas: engine.release(sagas.released, **WHY).waiting_for is None,
    "retry": lambda engine, sagas: engine.retry(sagas.retried, **WHY).waiting_for is None,
    "skip": lambda engine, sagas: engine.skip(sagas.skipped, **WHY).status == "rolled_back",
    "resolve": lambda engine, sagas: (
        engine.resolve(sagas.resolved, happened=True, outputs={}, **WHY).status == "completed"
    ),
    "upsert_step_result": lambda _, sagas: sagas.noted(),
    "ring": lambda engine, sagas: engine.ring(sagas.rung) is None,
    "load_definitions": lambda engine, _: engine.load_definitions(),
    "pass_over": lambda engine, sagas: engine.ledger.pass_over(sagas.run, 0, "why"),
    "take_over_dead": lambda engine, sagas: engine.take_over_dead(sagas.dead) == 1,
    "claim_for_recovery": lambda engine, sagas: engine.claim_for_recovery(sagas.orphan) == "ok",
    "ring_due": lambda engine, _: engine.ring_due() >= 0,
    "sweep": lambda engine, _: engine.sweep(),
    "sweep_tick": lambda engine, _: engine.sweep_tick(),
    "sweep_if_overdue": lambda engine, _: [engine.sweep_if_overdue()],  # a sweep, or None where one was just made
    "recover": lambda engine, _: (
        not [
            problem
            for problem in engine.recover().problems  # where one of its parts raises, it says so and goes on
            if problem.startswith(("definitions: ", "journal: ", "sweep: "))
        ]
    ),
    "run": lambda engine, sagas: engine.run(sagas.walked).status == "completed",
    "run_episode": lambda engine, sagas: engine.run_episode(sagas.run, place=HostPlace()).outcome == "completed",
    "wait": lambda engine, sagas: engine.wait(sagas.run, timeout=PATIENCE).status == "completed",
}


def test_every_read_and_move_works_at_once_after_a_restart(engine, postgres, monkeypatch):
    monkeypatch.setattr(odd_steps.Calls, "IN_DOUBT", "halt", raising=False)
    sagas = Prepared(engine)
    for name, ask in ASKS.items():
        with engine.database.checkout(), engine.database.checkout():
            pass  # two connections in the pool, to die with the server
        postgres.kill()
        postgres.start()
        assert ask(engine, sagas), name
    for run in engine.list(status=["pending", "running"]):
        engine.run(run.id)


def test_no_read_or_move_is_left_out():
    public = {name for name in dir(Engine) if not name.startswith("_") and callable(getattr(Engine, name))}
    assert public - set(ASKS) == {"from_env", "after_fork", "close", "ring_all"}  # none of them asks the database


def test_who_waits_for_a_saga_goes_on_through_an_outage(engine, postgres, monkeypatch):
    run = engine.start("t", ["steps.echo"])
    looks, answers = [], []
    get = engine.get

    def looked(saga_id):
        try:
            found = get(saga_id)
        except OUTAGE:
            looks.append("away")
            raise
        looks.append(str(found.status))
        return found

    monkeypatch.setattr(engine, "get", looked)
    waiter = threading.Thread(target=lambda: answers.append(engine.wait(run.id, timeout=2 * PATIENCE)), daemon=True)
    waiter.start()
    wait_until(lambda: "pending" in looks, what="somebody waits")
    postgres.kill()
    wait_until(lambda: "away" in looks, what="who waits has met the outage")
    postgres.start()
    with Engine(engine.settings) as walker:
        walker.run(run.id)
    waiter.join(PATIENCE)
    assert [answer.status for answer in answers] == ["completed"]


REFUSALS = {
    "disk_full": "53100",
    "out_of_memory": "53200",
    "query_canceled": "57014",
    "deadlock_detected": "40P01",
    "serialization_failure": "40001",
    "read_only_sql_transaction": "25006",
    "idle_in_transaction_session_timeout": "25P03",
    "internal_error": "XX000",
}


@pytest.mark.parametrize("state", REFUSALS)
def test_a_server_that_refuses_each_write_for_a_while_costs_nothing(engine, monkeypatch, state):
    with psycopg.connect(engine.settings.database_url, autocommit=True) as connection:
        connection.execute("CREATE SEQUENCE refused MAXVALUE 1000000")
        connection.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            # A sequence counts on where its transaction is rolled back: the first two writes of each kind are refused.
            f" IF nextval('refused') % 3 <> 0 THEN RAISE SQLSTATE '{REFUSALS[state]}'; END IF; RETURN NEW; END $$"
        )
        hooked(monkeypatch, lambda state: (_ for _ in ()).throw(ConnectionError()) if state.attempt == 1 else None)
        monkeypatch.setattr(odd_steps.Calls, "RETRY", RetryPolicy(max_attempts=2, base=0), raising=False)
        for steps, end in (([S + "Calls"] * 2, "completed"), ([S + "Calls", "steps.fail"], "rolled_back")):
            run = engine.start("t", steps)
            connection.execute(
                "CREATE TRIGGER refuse BEFORE INSERT ON saga_events FOR EACH ROW"
                " WHEN (NEW.type <> 'saga.claimed') EXECUTE FUNCTION refuse()"
            )
            found = engine.run_episode(run.id, place=HostPlace()).outcome
            connection.execute("DROP TRIGGER refuse ON saga_events")
            assert found == end, timeline(engine, run.id)
            assert len(engine.timeline(run.id).episodes) == 1


def test_a_claim_that_meets_a_short_outage_is_made_or_nothing_was_begun(engine, postgres):
    run = engine.start("t", ["steps.echo"])
    load = engine.ledger.load

    def load_then_kill(saga_id, line):
        found = load(saga_id, line)
        back.append(down(postgres, 0.4))
        return found

    back = []
    engine.ledger.load = load_then_kill
    try:
        end = engine.run_episode(run.id, place=HostPlace()).outcome
    except OUTAGE:
        end = "raised"
    back[0].join()
    engine.ledger.load = load
    assert end == "completed", timeline(engine, run.id)


def test_a_heartbeat_that_meets_a_locked_row_or_a_dead_thread_start_goes_on(engine, monkeypatch):
    monkeypatch.setitem(session.SESSION, "lock_timeout", "100ms")
    with Engine(engine.settings.replace(lease=1.0)) as short:
        run, other = short.start("t", ["steps.echo"]), short.start("t", ["steps.echo"])
        holds = [claimed(short, run.id), claimed(short, other.id)]
        heartbeat = Heartbeat(short.ledger)
        refused = []

        def start(self):
            refused.append(self)
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", start)
            with pytest.raises(RuntimeError):
                heartbeat.add(holds[0])
        for hold in holds:
            heartbeat.add(hold)
        with psycopg.connect(short.settings.database_url) as locker:
            locker.execute("SELECT FROM saga_episodes WHERE saga_id = %s FOR UPDATE", (run.id,))
            locked = lease.now()
            wait_until(lambda: holds[1].lease.sent_at > locked, what="a heartbeat that met the locked row")
        freed = lease.now()
        wait_until(lambda: all(hold.lease.sent_at > freed for hold in holds), what="a heartbeat of both")
        assert not any(hold.lease.is_fenced for hold in holds)
        heartbeat.close()
        for hold in holds:
            hold.yield_()
            hold.close()
            engine.run(hold.saga_id)


def test_a_pooled_connection_that_leads_to_a_standby_is_replaced(engine):
    """After a fail-over the old master is read-only: the same connection would refuse every move for ever."""
    run = engine.start("t", ["steps.echo"])
    with engine.database.checkout() as connection:
        connection.execute("SET default_transaction_read_only = on")
    other = engine.start("t", ["steps.echo"], key="after")
    assert engine.get(other.id).status == "pending"
    with engine.database.checkout() as connection:
        connection.execute("SET default_transaction_read_only = on")
    assert engine.cancel(run.id) == "cancelled"
    assert issubclass(psycopg.errors.ReadOnlySqlTransaction, OUTAGE)


def test_the_hard_end_does_not_strike_in_a_claim_whose_answer_is_lost(engine, monkeypatch):
    """The database is away for longer than TIMEOUT and grace when the claim has landed; the attempt was never entered."""
    monkeypatch.setattr(odd_steps.Calls, "TIMEOUT", 0.3, raising=False)
    struck, tries = [], []
    one = Line.one

    def lost(line, name, parameters):
        row = one(line, name, parameters)
        if name == "claim" and not tries:
            tries.append(row)
            raise psycopg.OperationalError("the answer is lost")
        if len(tries) == 1:  # and nothing is known for longer than the step may take
            tries.append(name)
            wait_until(lambda: lease.now() > began + 1.0, timeout=30)
        return row

    began = lease.now()
    monkeypatch.setattr(Line, "one", lost)
    run = engine.start("t", [S + "Calls"])
    end = engine.run_episode(run.id, place=ThreadPlace(on_stuck=lambda: struck.append(run.id)))
    assert (struck, end.outcome) == ([], "yielded"), timeline(engine, run.id)
    assert odd_steps.EFFECTS == []
    assert engine.run(run.id).status == "completed", timeline(engine, run.id)
    assert [(row.attempts, row.in_doubt) for row in engine.list_step_results(run.id)] == [(1, 0)]
