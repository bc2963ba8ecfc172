"""Workers without a beat notice and sweep, and what a sweep did can be seen; real prefork workers throughout."""

from __future__ import annotations

import signal
import time

import pytest

from tests.celery.stage import WAITS
from tests.holding import expire
from tests.waiting import PATIENCE, wait_until

SWEEPS = "sagaworker.sweep_orphans"
RECOVERS = "sagaworker.recover"


@pytest.fixture(scope="module")
def stage_settings():
    return {"lease": 600.0}  # no lease ends by itself: a test says when


def killed_main(stage):
    """A saga whose whole worker was killed inside a step, so that no witness saw it, and the gate of the step."""
    worker = stage.worker("-c", "1")
    gate = stage.folder / f"gate-{worker.pid}"
    run = stage.engine.start("abandoned", [{"step": WAITS, "params": {"gate": str(gate)}}] * 2)
    stage.holder(run.id)
    worker.kill_group(signal.SIGSTOP)  # so that main sees no child die, nor a child its main
    worker.teardown()
    return run, gate


def test_without_any_beat_the_children_notice_and_sweep(stage):
    run, gate = killed_main(stage)
    worker = stage.worker("-c", "2")
    # Its own first recovery comes too early: the lease is not over then.
    wait_until(lambda: has_succeeded(worker, RECOVERS), what="the recovery that a worker begins with")
    assert stage.outcomes(run.id) == ["None"]
    expire(stage.engine, run.id)
    gate.touch()
    assert stage.finished(run.id).status == "completed"
    assert stage.outcomes(run.id) == ["orphaned", "completed"]
    assert "this worker sweeps" in worker.logs()
    assert not has_succeeded(worker, SWEEPS)  # nobody sent one
    assert not stage.breaches(run.id)
    worker.teardown()


def test_while_every_child_walks_one_sweeps_beside_its_step(stage):
    """A beat's message waits for a child; the only one there is does not wait for its step."""
    run, gate = killed_main(stage)
    worker = stage.worker("-c", "1")
    busy = stage.folder / "busy"
    other = stage.engine.start("busy", [{"step": WAITS, "params": {"gate": str(busy)}}])
    stage.holder(other.id)
    stage.send(SWEEPS)
    expire(stage.engine, run.id)
    wait_until(lambda: stage.outcomes(run.id) == ["orphaned"], what="a takeover")
    assert stage.engine.get(other.id).status == "running"
    assert stage.outcomes(other.id) == ["None"]
    assert not has_succeeded(worker, SWEEPS)
    gate.touch()
    busy.touch()
    assert {one.status for one in stage.finished(run.id, other.id)} == {"completed"}
    worker.teardown()


def has_succeeded(worker, name):
    return any(f"Task {name}[" in line and "] succeeded" in line for line in worker.logs().splitlines())


def test_the_counts_of_a_sweep_and_of_a_recovery_are_in_the_events_that_flower_shows(stage):
    stage.worker("-c", "1")
    results = []
    with stage.client.connection_for_read() as connection:
        receiver = stage.client.events.Receiver(
            connection, handlers={"task-succeeded": lambda event: results.append(event["result"])}
        )
        # Once a heartbeat was heard, what is sent is heard too: before that an event may come before its listener.
        events = receiver.itercapture(limit=None, timeout=PATIENCE)
        next(events)
        for name in (SWEEPS, RECOVERS):
            stage.send(name)
        until = time.monotonic() + PATIENCE  # heartbeats come for ever
        for _ in events:
            if any("'held_back'" in r and "'definitions'" not in r for r in results) and any(
                "'definitions'" in r for r in results
            ):
                break
            assert time.monotonic() < until, results
    assert all("'restarted': 0" in result for result in results if "'held_back'" in result), results
