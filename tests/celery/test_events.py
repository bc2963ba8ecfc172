"""Task events, as Flower and every other monitor hear them."""

from __future__ import annotations

import pytest

from tests.celery.hearing import EXECUTING, RARELY, SLOWLY, WHOLE, Heard, until
from tests.celery.stage import WAITS
from tests.waiting import wait_until


@pytest.fixture
def heard(stage):
    with Heard(stage).listening(stage.broker_url) as heard:
        yield heard


@pytest.fixture
def worker(stage):
    """Start a worker; it is gone after the test."""
    started = []

    def start(**options):
        started.append(stage.worker(**options))
        return started[-1]

    yield start
    for one in started:
        one.teardown()


def test_what_happens_to_a_task_is_told_in_its_order(stage, heard, worker):
    worker(app=SLOWLY)
    gate = stage.folder / "gate-of-order"
    run = stage.engine.start("ordered", [{"step": WAITS, "params": {"gate": str(gate)}}], key="o1")
    until(heard, "ordered", [*WHOLE[:2], EXECUTING])
    gate.touch()
    stage.finished(run.id)
    until(heard, "ordered", [*WHOLE[:2], EXECUTING, WHOLE[2]])


def test_events_that_wait_go_before_the_worker_does(stage, heard, worker):
    leaving = worker(app=RARELY)
    stage.finished(stage.engine.start("left", ["steps.echo"], key="l1").id)
    leaving.kill("SIGTERM")
    leaving.wait()
    until(heard, "left", WHOLE)


def test_the_last_task_of_a_worker_that_stops_is_told_of(stage, heard, worker):
    leaving = worker(app=RARELY)
    gate = stage.folder / "gate-of-stop"
    run = stage.engine.start("stopped", [{"step": WAITS, "params": {"gate": str(gate)}}], key="s1")
    stage.holder(run.id)
    leaving.kill("SIGTERM")
    wait_until(lambda: "Warm shutdown" in leaving.logs(), what="the stop to begin")
    gate.touch()
    until(heard, "stopped", WHOLE)


def test_events_that_wait_outlive_a_lost_connection(stage, heard, worker):
    worker(app=RARELY)
    stage.finished(stage.engine.start("lost", ["steps.echo"], key="c1").id)
    database = stage.redis.connection_pool.connection_kwargs["db"]
    asking = [one for one in stage.redis.client_list() if one["cmd"] == "brpop" and one["db"] == str(database)]
    assert len(asking) == 1
    stage.redis.client_kill_filter(_id=asking[0]["id"])
    until(heard, "lost", WHOLE)
