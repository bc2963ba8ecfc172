"""Which doorbells go before those that wait their turn."""

import pytest

from sagaworker.engine import Engine
from sagaworker.ledger.hold import Hold
from sagaworker.runner.place import HostPlace
from tests.holding import advance, claimed, expire
from tests.runner import steps

S = "tests.runner.steps:"
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


def held(engine, run) -> Hold:
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
