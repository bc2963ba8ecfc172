"""What RETRY allows is failures on record. Workers that die use none of it up, and give none."""

import pytest

from sagaworker.domain.status import RunStatus
from sagaworker.domain.walk import Retry
from tests.episodes import steps
from tests.holding import TIMEOUT, claimed
from tests.recovery.test_doubt import row
from tests.showing import timeline

S = "tests.episodes.steps:"


@pytest.fixture(autouse=True)
def clean():
    steps.EFFECTS.clear()


def dies(engine, hold):
    hold.close()
    assert engine.take_over_dead(engine.owner) == 1


def in_its_first_attempt(engine, run):
    dies(engine, claimed(engine, run.id))


def after_a_failure_and_before_it_begins_again(engine, run):
    hold = claimed(engine, run.id)
    hold.retry(Retry(delay=0, error={"kind": "X"}, doubted=True), park=False, undo_timeout=TIMEOUT)
    dies(engine, hold)


def in_its_second_attempt(engine, run):
    hold = claimed(engine, run.id)
    hold.retry(Retry(delay=0, error={"kind": "X"}, doubted=True), park=False, undo_timeout=TIMEOUT)
    hold.begin(TIMEOUT)
    dies(engine, hold)


def in_its_second_attempt_and_before_the_third_begins(engine, run):
    in_its_second_attempt(engine, run)
    # This one inherits the attempt and dies before it begins its own.
    dies(engine, claimed(engine, run.id))


@pytest.mark.parametrize(
    ("deaths", "attempts"),
    [
        (in_its_first_attempt, 3),
        (after_a_failure_and_before_it_begins_again, 2),
        (in_its_second_attempt_and_before_the_third_begins, 3),
    ],
)
@pytest.mark.parametrize("step", ["RaisesInBothTries", "RaisesInBothTransactions"])
def test_a_step_of_two_tries_fails_twice_whoever_died_meanwhile(engine, step, deaths, attempts):
    run = engine.start("t", [S + step], recovery_policy="restart")
    deaths(engine, run)
    done = engine.run(run.id)
    assert done.status is RunStatus.ROLLED_BACK, timeline(engine, run.id)
    assert (row(engine, run, 0).attempts, row(engine, run, 0).failed_attempts) == (attempts, 1)
    assert engine.audit() == []


def test_a_saga_that_is_taken_up_again_has_all_the_tries_of_its_step_again(engine):
    run = engine.start("t", [S + "RaisesInBothTries"], recovery_policy="fail")
    in_its_second_attempt(engine, run)
    assert engine.get(run.id).status is RunStatus.FAILED
    assert row(engine, run, 0).failed_attempts == 1
    engine.retry(run.id, reason="it was the network", who="ann")
    assert row(engine, run, 0).failed_attempts == 0
    assert engine.run(run.id).status is RunStatus.ROLLED_BACK, timeline(engine, run.id)
    assert (row(engine, run, 0).attempts, row(engine, run, 0).failed_attempts) == (4, 1)
    assert engine.audit() == []
