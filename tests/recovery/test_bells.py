"""Which doorbells say that their saga has begun: these go before new ones."""

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


def yielded_and_rung_anew(engine, run):
    hold = held(engine, run)
    hold.yield_()
    hold.close()
    rung_anew(engine, run)


def yielded_and_cancelled(engine, run):
    hold = held(engine, run)
    hold.yield_()
    hold.close()
    engine.cancel(run.id)


def yielded_held_and_released(engine, run):
    hold = held(engine, run)
    hold.yield_()
    hold.close()
    engine.hold(run.id, **WHY)
    engine.release(run.id, **WHY)


def held_and_released(engine, run):
    engine.hold(run.id, **WHY)
    engine.release(run.id, **WHY)


@pytest.mark.parametrize("then", [rung_anew, held_and_released])
def test_what_nobody_has_held_is_new_however_often_it_is_rung(ringing, bells, then):
    run = ringing.start("t", [S + "Works", S + "Works"])
    then(ringing, run)
    assert [(bell.saga_id, bell.has_begun) for bell in bells] == [(run.id, False)] * 2


@pytest.mark.parametrize(
    "then", [lost_with_its_worker, lost_unseen, yielded_and_rung_anew, yielded_and_cancelled, yielded_held_and_released]
)
def test_what_a_worker_has_held_goes_before_what_is_new(ringing, bells, then):
    run = ringing.start("t", [S + "Works", S + "Works"], recovery_policy="restart")
    then(ringing, run)
    assert [(bell.saga_id, bell.has_begun) for bell in bells] == [(run.id, False), (run.id, True)]


def test_a_retry_that_was_waited_for_goes_before_what_is_new(ringing, bells):
    run = ringing.start("t", [S + "RetriesLater"])
    assert ringing.run(run.id).waiting_for == "retry"
    rung_anew(ringing, run)
    assert bells[-1].has_begun


def test_a_saga_that_lets_go_between_two_steps_rings_as_begun(ringing):
    run = ringing.start("t", [S + "Calls", S + "Works"])
    stops = []
    steps.Calls.hook = stops.append
    end = ringing.run_episode(run.id, place=HostPlace(), should_stop=lambda: bool(stops))
    assert (end.outcome, end.doorbell.has_begun) == ("yielded", True)
