"""Deaths: of a pool child, of a whole worker, of the broker's memory; and a worker that was only asleep."""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections import Counter

import pytest

from tests.celery.stage import WAITS
from tests.showing import timeline
from tests.steps_for_tests import journal
from tests.waiting import wait_until

KILLS = 10
SPAWNS = "tests.steps_for_tests.acts:Spawns"
FORGOTTEN = 1000


LONG = {"SAGAWORKER_LEASE": "600"}  # of a worker whose sagas no lease that ends explains


def acts(count, **params):
    return [{"step": WAITS, "params": params}] * count


@pytest.fixture
def gate(stage):
    """Its steps, or their undos, wait until this is made."""
    return stage.folder / f"gate-{uuid.uuid4()}"


@pytest.fixture(scope="module")
def beat(stage):
    return stage.beat()


@pytest.fixture
def worker(stage):
    container = stage.worker("-c", "3", env=LONG)
    yield container
    container.teardown()


@pytest.fixture
def mortal(stage):
    """A worker whose leases end soon after it does."""
    container = stage.worker("-c", "3", env={"SAGAWORKER_LEASE": "3"})
    yield container
    container.teardown()


def entered_after(stage, saga_id, count):
    """When user code of the saga was entered for the time number `count` (from 0), or 0."""
    entered = [line for line in journal.read(stage.effects)[saga_id] if line["what"] == "entered"]
    return entered[count]["at"] if len(entered) > count else 0


def killed_children(stage, count):
    """Seconds from each kill until user code of its saga was entered again."""
    took = []
    for number in range(count):
        gate = stage.folder / f"gate-{count}-{number}"
        run = stage.engine.start("killed", acts(2, gate=str(gate)), max_recoveries=3)
        pid = stage.holder(run.id)
        os.kill(pid, signal.SIGKILL)
        killed = time.time()
        took.append(wait_until(lambda run=run: entered_after(stage, run.id, 1)) - killed)
        gate.touch()
        done = stage.finished(run.id)
        assert done.status == "completed"
        assert stage.outcomes(run.id) == ["died", "completed"], timeline(stage.engine, run.id)
        first, second = stage.engine.list_step_results(run.id)
        assert (first.attempts, first.in_doubt, first.recoveries, second.attempts) == (2, 1, 1, 1)
        assert not stage.breaches(run.id)
    return took


def test_a_killed_child_is_witnessed_and_its_saga_runs_again_at_once(stage, worker):
    """At once: no lease ends here, so nothing but the witness can have found it."""
    assert len(killed_children(stage, KILLS)) == KILLS


@pytest.mark.chaos
def test_two_hundred_killed_children_are_witnessed_and_how_soon_is_told(stage, worker):
    took = sorted(killed_children(stage, 200))
    print(f"killed child to saga entered again: p50 {took[99]:.3f} s, p99 {took[197]:.3f} s, max {took[-1]:.3f} s")


def test_the_place_of_a_killed_child_is_filled_at_once(stage):
    """Celery alone leaves some of them empty until it looks again, every five seconds; here it looks once an hour."""
    worker = stage.worker("-c", "3", app="tests.celery.rarely_looking")
    wait_until(lambda: len(worker.children()) == 3)
    for _ in range(KILLS):
        victim = worker.children()[0].pid
        os.kill(victim, signal.SIGKILL)
        wait_until(
            lambda victim=victim: victim not in (pids := pids_of(worker)) and len(pids) == 3, what="three children"
        )
    worker.teardown()


def test_a_child_that_is_killed_while_its_worker_starts_does_not_end_the_worker(stage):
    for _ in range(3):
        starting = stage.unready("-c", "3")
        wait_until(lambda starting=starting: len(starting.children()) == 3, every=0.001)
        os.kill(starting.children()[0].pid, signal.SIGKILL)
        starting.ready()
        wait_until(lambda starting=starting: len(starting.children()) == 3)
        run = stage.engine.start("started", acts(1))
        assert stage.finished(run.id).status == "completed", starting.logs()
        starting.teardown()


def pids_of(worker):
    return [child.pid for child in worker.children()]


def test_what_a_killed_child_had_started_is_waited_for(stage, worker):
    """Main saw the child die, but a process that its step started lives on: nothing is undone until that must be over."""
    run = stage.engine.start("spawned", [SPAWNS, *acts(1)], max_recoveries=0)
    os.kill(stage.holder(run.id, step=0, within="spawned"), signal.SIGKILL)
    assert stage.finished(run.id, timeout=60).status == "rolled_back"
    journal = stage.engine.timeline(run.id).journal
    kinds = [(entry.type, entry.data.get("waiting_for")) for entry in journal]
    assert ("saga.parked", "quarantine") in kinds, timeline(stage.engine, run.id)
    begun = next(entry for entry in journal if entry.type == "saga.claimed")
    again = next(entry for entry in journal if entry.type == "saga.woken")
    assert (again.created_at - begun.created_at).total_seconds() >= 4, "TIMEOUT of the step, by the database's clock"
    assert "died" in stage.outcomes(run.id)
    assert not stage.breaches(run.id)


def test_a_child_killed_in_an_undo_is_witnessed_too(stage, worker, gate):
    steps = [*acts(2, undo_gate=str(gate)), *acts(1, fail=True)]
    run = stage.engine.start("killed", steps)
    os.kill(stage.holder(run.id, step=1, within="undoing"), signal.SIGKILL)
    gate.touch()
    assert stage.finished(run.id).status == "rolled_back"
    assert stage.outcomes(run.id) == ["died", "rolled_back"]
    assert stage.engine.list_step_results(run.id)[1].compensation_recoveries == 1
    assert not stage.breaches(run.id)


def test_a_killed_main_is_found_by_its_leases_and_its_saga_runs_again_within_lease_tick_and_a_second(
    stage, mortal, beat, gate
):
    """By its leases: not before the last one ended, and soon after; how soon, the benchmark says."""
    run = stage.engine.start("killed", acts(2, gate=str(gate)))
    stage.holder(run.id)
    before = pids_of(mortal)
    mortal.kill(signal.SIGKILL)  # its children die with it
    other = stage.worker(env=LONG)
    run_again_elsewhere(stage, run, before, gate)
    *lost, last = stage.engine.timeline(run.id).episodes
    assert last.outcome == "completed"
    assert_ended_by_their_leases(stage, run, lost)
    assert not stage.breaches(run.id)
    other.teardown()


def run_again_elsewhere(stage, run, before, gate):
    """Wait until a process other than those has it, and let it finish."""
    with stage.explained(run.id):
        wait_until(lambda: stage.engine.timeline(run.id).episodes[-1].pid not in before, what=f"{run.id} elsewhere")
    gate.touch()
    assert stage.finished(run.id).status == "completed"


def assert_ended_by_their_leases(stage, run, episodes):
    """As a rule it is one; on a machine so busy that a lease ended while its worker lived, the worker had another."""
    assert {episode.outcome for episode in episodes} == {"orphaned"}, timeline(stage.engine, run.id)
    assert all(episode.ended_at >= episode.lease_until for episode in episodes), timeline(stage.engine, run.id)


def test_a_worker_that_slept_beyond_its_lease_writes_nothing(stage, mortal, beat, gate):
    run = stage.engine.start("slept", acts(2, gate=str(gate)))
    stage.holder(run.id)
    asleep = pids_of(mortal)
    mortal.kill_group(signal.SIGSTOP)
    other = stage.worker(env=LONG)
    run_again_elsewhere(stage, run, asleep, gate)
    before = stage.engine.timeline(run.id)
    mortal.kill_group(signal.SIGCONT)
    wait_until(lambda: f"saga {run.id} was taken over" in mortal.logs(), what="the sleeper learned of it")
    assert stage.engine.timeline(run.id) == before
    *lost, last = before.episodes
    assert last.outcome == "completed"
    assert_ended_by_their_leases(stage, run, lost)
    other.teardown()


def test_a_broker_that_forgot_a_thousand_doorbells_costs_no_saga(stage, beat):
    runs = stage.engine.start_many([{"kind": "forgotten", "steps": ["steps.echo"] * 2} for _ in range(FORGOTTEN)])
    assert stage.redis.llen("sagas") >= FORGOTTEN
    stage.redis.flushdb()  # all of the broker that this stage uses; FLUSHALL would empty a given server's other databases
    assert stage.redis.llen("sagas") == 0
    worker = stage.worker(env=LONG)
    ended = stage.finished(*(run.id for run in runs))
    assert Counter(run.status for run in ended) == {"completed": FORGOTTEN}
    assert {len(stage.outcomes(run.id)) for run in runs[::50]} == {1}
    worker.teardown()


def test_the_ledger_is_sound_after_all_these_deaths(stage):
    assert stage.engine.audit() == []
