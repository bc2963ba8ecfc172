"""Poison steps in a real worker: undone after their ceiling of recoveries, and nobody else is harmed."""

import pytest

from tests.celery.stage import ACTS
from tests.showing import timeline
from tests.waiting import wait_until

POISON = ["Segfaults", "LeavesAtOnce", "EatsMemory", "Loops", "HoldsTheGil"]


@pytest.fixture(scope="module")
def stage_settings():
    return {"step_grace": 0.5}


def test_poison_is_undone_after_its_ceiling_and_takes_no_other_saga_with_it(stage):
    worker = stage.worker()
    main = worker.pid
    steps = {name: ["steps.echo", f"tests.steps_for_tests.poison:{name}"] for name in POISON}
    poisoned = {
        name: stage.engine.start("poison", listed, max_recoveries=1, recovery_policy="restart").id
        for name, listed in steps.items()
    }
    neighbours = [stage.engine.start("neighbour", [{"step": ACTS, "params": {"seconds": 0.05}}] * 4) for _ in range(6)]
    stage.beat()
    for name, saga_id in poisoned.items():
        run = stage.finished(saga_id)
        assert (run.status, run.error_class) == ("rolled_back", "recoveries_exhausted"), (
            name,
            timeline(stage.engine, saga_id),
        )
        row = stage.engine.list_step_results(saga_id)[1]
        assert (row.status, row.attempts, row.recoveries) == ("compensated", 2, 2), name
    for run in neighbours:
        assert stage.finished(run.id).status == "completed"
    # A neighbour shares no process with poison at the same time, so not one of its attempts was lost.
    assert [stage.engine.get(run.id).recoveries for run in neighbours] == [0] * len(neighbours)
    assert (worker.pid, worker.status) == (main, "running")
    assert not stage.breaches(*(run.id for run in neighbours))
    wait_until(lambda: stage.engine.audit() == [])
