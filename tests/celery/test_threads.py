"""The threads pool: no child to lose, so a step that never ends takes the whole process with it, politely."""

from __future__ import annotations

import pytest

from tests.celery.stage import ACTS, WAITS
from tests.showing import timeline
from tests.waiting import wait_until

GRACE = 8.0  # for the others, after a step turned out to be stuck: to come to the end of a tenth of a second


@pytest.fixture(scope="module")
def stage_settings():
    return {"lease": 15.0, "step_grace": GRACE}


@pytest.fixture
def worker(stage):
    container = stage.worker("-P", "threads", "-c", "4")
    yield container
    container.teardown()


def test_sagas_run_side_by_side_in_threads(stage, worker):
    gate = stage.folder / "gate"
    runs = [stage.engine.start("threaded", [{"step": WAITS, "params": {"gate": str(gate)}}] * 3) for _ in range(8)]
    for run in runs[:4]:
        stage.holder(run.id)  # as many at once as there are threads
    gate.touch()
    stage.finished(*(run.id for run in runs))
    assert not stage.breaches(*(run.id for run in runs))
    assert {pid for run in runs for pid in [e.pid for e in stage.engine.timeline(run.id).episodes]} == {worker.pid}


def test_a_stuck_step_makes_the_process_yield_the_others_and_leave(stage, worker):
    stuck = stage.engine.start("stuck", ["tests.steps_for_tests.naughty:HangsBeyondReach"])
    gate = stage.folder / "gate-beside"
    passing = {"step": ACTS, "params": {"seconds": 0.1, "gate": str(gate)}}
    others = [stage.engine.start("beside", [passing] * 900) for _ in range(2)]  # more than could pass in the meantime
    wait_until(lambda: stage.outcomes(stuck.id))
    for run in others:
        stage.holder(run.id)
    assert worker.wait() == 1
    for run in others:
        assert stage.outcomes(run.id)[-1] == "yielded", timeline(stage.engine, run.id)
    gate.touch()
    stage.beat()
    stage.worker("-P", "threads", "-c", "4")  # as a supervisor would
    stage.finished(*(run.id for run in others))
    assert stage.finished(stuck.id).status == "rolled_back"
    assert stage.outcomes(stuck.id)[0] == "orphaned"
    assert not stage.breaches(*(run.id for run in others))
    assert stage.engine.audit() == []
