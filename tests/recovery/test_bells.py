"""Which doorbells go before those that wait their turn."""

import pytest
from psycopg.rows import dict_row

from sagaworker.engine import Engine
from sagaworker.episodes import ThreadPlace
from sagaworker.episodes.place import HostPlace
from sagaworker.ledger.claim import Claim
from tests.episodes import steps
from tests.holding import advance, claimed, expire

S = "tests.episodes.steps:"
WHY = {"reason": "asked the bank", "who": "ann"}


@pytest.fixture
def bells():
    return []


@pytest.fixture
def ringing(engine, bells):
    with Engine(engine.settings, ring=bells.extend) as other:
        yield other


def due(engine, run):
    with engine.database.connect() as connection:
        connection.execute("UPDATE saga_runs SET wake_at = now() - interval '1 hour' WHERE id = %s", (run.id,))


def held(engine, run) -> Claim:
    hold = claimed(engine, run.id)
    advance(hold)
    return hold


def rung_anew(engine, run):
    due(engine, run)
    engine.sweep()


def lost_with_its_worker(engine, run):
    held(engine, run).close()
    assert engine.take_over_dead(engine.owner) == 1


def lost_unseen(engine, run):
    held(engine, run).close()
    expire(engine, run.id)
    engine.sweep()


def lost_and_rung_anew(engine, run):
    lost_with_its_worker(engine, run)
    due(engine, run)
    engine.sweep()


def yielded(engine, run):
    hold = held(engine, run)
    hold.yield_()
    hold.close()


def yielded_and_rung_anew(engine, run):
    yielded(engine, run)
    rung_anew(engine, run)


def yielded_and_cancelled(engine, run):
    yielded(engine, run)
    engine.cancel(run.id)


def yielded_held_and_released(engine, run):
    yielded(engine, run)
    held_and_released(engine, run)


def held_and_released(engine, run):
    engine.hold(run.id, **WHY)
    engine.release(run.id, **WHY)


@pytest.mark.parametrize(
    "then", [rung_anew, held_and_released, yielded_and_rung_anew, yielded_and_cancelled, yielded_held_and_released]
)
def test_what_lost_no_worker_takes_its_turn(ringing, bells, then):
    run = ringing.start("t", [S + "Works", S + "Works"])
    then(ringing, run)
    assert [(bell.saga_id, bell.goes_first) for bell in bells] == [(run.id, False)] * 2


@pytest.mark.parametrize(
    ("then", "first"), [(lost_with_its_worker, [True]), (lost_unseen, [True]), (lost_and_rung_anew, [True, True])]
)
def test_what_lost_its_worker_goes_first_also_when_it_is_rung_anew(ringing, bells, then, first):
    run = ringing.start("t", [S + "Works", S + "Works"], recovery_policy="restart")
    then(ringing, run)
    assert [bell.goes_first for bell in bells] == [False, *first]


def test_a_retry_that_was_waited_for_takes_its_turn(ringing, bells):
    run = ringing.start("t", [S + "RetriesLater"])
    assert ringing.run(run.id).waiting_for == "retry"
    rung_anew(ringing, run)
    assert [bell.goes_first for bell in bells] == [False, False]


def test_a_saga_whose_worker_stops_between_two_steps_goes_first(ringing):
    run = ringing.start("t", [S + "Calls", S + "Works"])
    stops = []
    steps.Calls.hook = stops.append
    end = ringing.run_episode(run.id, place=HostPlace(), should_stop=lambda: bool(stops))
    assert (end.outcome, end.doorbell.goes_first) == ("yielded", True)


def test_a_broker_that_is_away_makes_no_wait_longer(engine):
    """Rings that reached nobody are made up for as soon as the broker is back, however long it was away."""
    away = []

    def ring(bells):
        if not away:
            raise ConnectionError("the broker is away")
        away.extend(bell.saga_id for bell in bells)

    with Engine(engine.settings, ring=ring) as other:
        runs = [other.start("t", ["steps.echo"]) for _ in range(3)]
        for _ in range(12):
            due_now(other)
            assert other.sweep().rung == 0
        assert {row["rings"] for row in wakes(other)} == {0}
        assert all(row["left"] < 3 * other.settings.sweep_interval.total_seconds() for row in wakes(other))
        away.append("back")
        due_now(other)
        assert other.sweep().rung == 3
        assert {*away} == {"back", *(run.id for run in runs)}
        assert {row["rings"] for row in wakes(other)} == {1}


def test_a_worker_that_stops_rings_for_a_saga_it_does_not_take(engine):
    bells = []
    with Engine(engine.settings, ring=bells.extend) as other:
        run = other.start("t", ["steps.echo"])
        bells.clear()
        end = other.run_episode(run.id, place=ThreadPlace(), should_stop=lambda: True)
        assert end.outcome == "stopping"
        assert [(bell.saga_id, bell.goes_first) for bell in bells] == [(run.id, True)]
        bells.clear()
        other.cancel(run.id)
        end = other.run_episode(run.id, place=ThreadPlace(), should_stop=lambda: True)
        assert (end.outcome, bells) == ("busy", []), "there is nothing to be done for it"


def due_now(engine):
    with engine.database.checkout() as connection:
        connection.execute("UPDATE saga_runs SET wake_at = clock_timestamp() - interval '1 second'")


def wakes(engine):
    with engine.database.checkout() as connection, connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            "SELECT rings, extract(epoch FROM wake_at - clock_timestamp())::float AS left FROM saga_runs"
        ).fetchall()
