"""The threads pool: no child to lose, so a step that never ends takes the whole process with it, politely."""

from __future__ import annotations

import pytest

from tests.acceptance.stage import ACTS
from tests.showing import timeline
from tests.waiting import wait_until


@pytest.fixture
def worker(stage):
    container = stage.worker("-P", "threads", "-c", "4")
    yield container
    container.teardown()


def test_sagas_run_side_by_side_in_threads(stage, worker):
    runs = [stage.engine.start("threaded", [{"step": ACTS, "params": {"seconds": 0.1}}] * 3) for _ in range(8)]
    stage.finished(*(run.id for run in runs))
    assert not stage.breaches(*(run.id for run in runs))
    assert {pid for run in runs for pid in [e.pid for e in stage.engine.timeline(run.id).episodes]} == {worker.pid}


def test_a_stuck_step_makes_the_process_yield_the_others_and_leave(stage, worker):
    stuck = stage.engine.start("stuck", ["tests.steps_for_tests.naughty:HangsBeyondReach"])
    wait_until(lambda: stage.outcomes(stuck.id))
    others = [stage.engine.start("beside", [{"step": ACTS, "params": {"seconds": 0.2}}] * 30) for _ in range(2)]
    for run in others:
        stage.holder(run.id)
    assert worker.wait(10) == 1
    for run in others:
        assert stage.outcomes(run.id)[-1] == "yielded", timeline(stage.engine, run.id)
    stage.beat()
    stage.worker("-P", "threads", "-c", "4")  # as a supervisor would
    stage.finished(*(run.id for run in others), timeout=30)
    assert stage.finished(stuck.id, timeout=30).status == "rolled_back"
    assert stage.outcomes(stuck.id)[0] == "orphaned"
    assert not stage.breaches(*(run.id for run in others))
    assert stage.engine.audit() == []
