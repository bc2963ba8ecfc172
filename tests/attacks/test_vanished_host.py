"""The host of the database vanishes: no packet of it comes any more, and none says so.

Whoever had a statement in flight is free again within the bound of `tcp_user_timeout`, and the saga ends when the host is
back. Nothing here measures: a minute tells what hangs (TCP itself gives up after a quarter of an hour) from what does not.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import psycopg
import pytest

from sagaworker import Engine, SagaState
from sagaworker.domain.records import SagaRun
from sagaworker.episodes import ThreadPlace
from sagaworker.episodes.heartbeat import Heartbeat
from sagaworker.errors import Fenced, WaitTimeout
from sagaworker.ledger.database import Database
from sagaworker.ledger.lease import now
from sagaworker.ledger.migrate import migrate
from sagaworker.ledger.outage import OUTAGE
from sagaworker.settings import Settings
from tests.holding import claimed, expire
from tests.house import Host, HousePostgres, host
from tests.servers import DatabaseServer
from tests.showing import timeline
from tests.waiting import wait_until

GUARD = 60.0  # seconds: five times what a statement in flight may take
S = "tests.attacks.test_vanished_host:"
GONE = threading.Event()


class Walk:
    """A step that is inside its user code when the host vanishes, and is done after it."""

    inside = threading.Event()
    TOMBSTONE = True

    def execute(self, state: SagaState) -> SagaState:
        if not GONE.is_set():
            type(self).inside.set()
            GONE.wait(GUARD)
        return state

    def compensate(self, state: SagaState) -> None: ...


class WritesAndEnds(Walk):
    """Its commit meets the host that is gone."""

    inside = threading.Event()
    TRANSACTIONAL = True

    def execute(self, state: SagaState) -> SagaState:
        state.connection.execute("CREATE TABLE IF NOT EXISTS written (saga text)")
        state.connection.execute("INSERT INTO written VALUES (%s)", (state.saga_id,))
        return super().execute(state)


class Asks(Walk):
    """The server is at work on its statement when the host vanishes: nothing is unacknowledged."""

    inside = threading.Event()
    TRANSACTIONAL = True

    def execute(self, state: SagaState) -> SagaState:
        if not GONE.is_set():
            type(self).inside.set()
            state.connection.execute("SELECT pg_sleep(100)")
        return state


@pytest.fixture
def vanishing() -> Iterator[Host]:
    with host() as made:
        yield made


@pytest.fixture
def server_url(server_folder, vanishing: Host) -> Iterator[str]:
    with HousePostgres(server_folder / "vanishing", {"listen_addresses": f"127.0.0.1,{vanishing.address}"}) as server:
        on_host = DatabaseServer(server.url.replace("127.0.0.1", vanishing.address))
        name = on_host.create()
        migrate(on_host.url_of(name))
        yield on_host.url_of(name)
        vanishing.come_back()


@pytest.fixture
def engines(server_url: str) -> Iterator[Callable[[], Engine]]:
    made: list[Engine] = []

    def engine() -> Engine:
        """One with an idle connection in its pool, as a process has that did something before."""
        settings = Settings.from_env(
            {},
            database_url=server_url,
            step_packages=("steps", "tests.attacks"),
            lease=8.0,
            sweep_interval=0.2,
            step_grace=0.2,
        )
        made.append(Engine(settings))
        made[-1].check_schema()
        return made[-1]

    GONE.clear()
    for step in (Walk, WritesAndEnds, Asks):
        step.inside.clear()
    yield engine
    for one in made:
        one.close()


class Asker:
    """A thread that asks when the host is gone, and what came of it."""

    def __init__(self, name: str, ask: Callable[[], object], *, at_once: bool = False) -> None:
        self.name = name
        self.came: object = None
        self._ask = ask
        self._at_once = at_once
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        if not self._at_once:
            GONE.wait(GUARD)
        try:
            self.came = self._ask()
        except (*OUTAGE, Fenced, WaitTimeout) as problem:
            self.came = problem


KINDS = ("Walk", "WritesAndEnds", "Asks")


def test_who_had_a_statement_in_flight_is_free_again_and_every_saga_ends(engines, vanishing: Host, server_url: str):
    engine = engines()
    walked = [engine.start("t", ["steps.echo", S + kind, "steps.echo"]) for kind in KINDS]
    beaten, cancelled, idle = (engine.start("t", ["steps.echo"]) for _ in range(3))
    walkers = [_walker(engines(), run.id) for run in walked]
    asks: dict[str, Callable[[Engine], object]] = {
        "sweep": Engine.sweep,
        "sweep_if_overdue": Engine.sweep_if_overdue,
        "cancel": lambda one: one.cancel(cancelled.id),
        "wait": lambda one: one.wait(idle.id, timeout=1.0),
        "get": lambda one: one.get(idle.id),
        "list": Engine.list,
        "audit": Engine.audit,
        "start": lambda one: one.start("t", ["steps.echo"], key="late"),
        "explain": lambda one: one.explain(idle.id),
        "take over": lambda one: one.recovery.take_over_dead("nobody"),
        "connect": lambda _one: Database(server_url).connect(),
        "migrate": lambda _one: migrate(server_url),
    }
    askers = [Asker(name, partial(ask, engines())) for name, ask in asks.items()]
    beating = engines()
    hold = claimed(beating, beaten.id)
    heartbeat = Heartbeat(beating.ledger)
    heartbeat.add(hold)
    begun = now()
    wait_until(lambda: hold.lease.sent_at > begun, what="a heartbeat on its own connection")
    for step in (Walk, WritesAndEnds, Asks):
        assert step.inside.wait(GUARD)

    vanishing.vanish()
    GONE.set()
    until = time.monotonic() + GUARD
    for asker in (*walkers, *askers):
        asker.thread.join(max(0.0, until - time.monotonic()))
    assert [asker.name for asker in (*walkers, *askers) if asker.thread.is_alive()] == []
    assert [asker.name for asker in askers if not isinstance(asker.came, OUTAGE)] == []
    assert {str(walker.came) for walker in walkers} == {"fenced"}

    vanishing.come_back()
    back = now()
    fresh = claimed(beating, idle.id)
    heartbeat.add(fresh)
    wait_until(lambda: fresh.lease.sent_at > back, what="a heartbeat after the host was back")
    heartbeat.close()
    for one in (hold, fresh):
        one.close()
    sagas = [*walked, beaten, idle]
    wait_until(lambda: _all_over(engine, [*sagas, cancelled]), what="every saga over")
    for run in sagas:
        assert engine.get(run.id).status == "completed", timeline(engine, run.id)
    with psycopg.connect(server_url) as connection:
        written = connection.execute("SELECT saga FROM written").fetchall()
    assert written == [(walked[1].id,)]
    assert engine.audit() == []


def _walker(engine: Engine, id: str) -> Asker:
    return Asker(f"walk {id}", lambda: engine.run_episode(id, place=ThreadPlace()).outcome, at_once=True)


def _all_over(engine: Engine, runs: list[SagaRun]) -> bool:
    for run in runs:
        if not engine.get(run.id).status.is_terminal:
            expire(engine, run.id)
            engine.sweep()
            engine.run(run.id)
    return all(engine.get(run.id).status.is_terminal for run in runs)


def test_who_waits_for_a_saga_rides_out_a_host_that_vanished(engines, vanishing: Host):
    waiting, engine = engines(), engines()
    run = engine.start("t", ["steps.echo"])
    asker = Asker("wait", lambda: waiting.wait(run.id, timeout=GUARD).status)
    vanishing.vanish()
    GONE.set()
    back = threading.Timer(3.0, vanishing.come_back)
    back.start()
    back.join()
    engine.run(run.id)
    asker.thread.join(GUARD)
    assert asker.came == "completed"
