"""Sagas under fire: children that hold an open episode are killed -9, one after the other.

The short run belongs to every test run; the long one is marked `chaos`. The seed is printed on failure: the choice of
sagas and victims is by it, the moments are not.
"""

from __future__ import annotations

import os
import random
import signal
from operator import itemgetter

import psutil
import pytest

from tests.celery.stage import ACTS
from tests.showing import timeline
from tests.steps_for_tests import journal
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def stage_settings():
    return {"sweep_interval": 0.5, "step_grace": 0.5}


def steps(random_, gate):
    """A list of three to seven steps; every third fails at its end and is undone. They hurry once the gate is there."""
    before, after = random_.uniform(0, 1), random_.uniform(0, 1)
    params = {"seconds": before, "after": after, "gate": str(gate), "undo_seconds": 0.03}
    acts = [{"step": ACTS, "params": params}] * random_.randint(3, 6)
    return [*acts, {"step": ACTS, "params": {"fail": True}}] if random_.random() < 0.33 else acts


def in_user_code(stage, workers):
    """Children of these workers that are inside a step or an undo right now, by what they noted last."""
    children = {child.pid for worker in workers for child in worker.children()}
    noted = sorted((line for lines in journal.read(stage.effects).values() for line in lines), key=itemgetter("at"))
    latest = {line["pid"]: line for line in noted}
    return sorted(
        pid for pid, line in latest.items() if pid in children and line["what"] in ("entered", "undoing", "did")
    )


def under_fire(stage, *, count, kills, seed):
    random_ = random.Random(seed)
    beat = stage.beat()
    workers = [stage.worker() for _ in range(2)]
    gate = stage.folder / f"gate-{count}"
    runs = stage.engine.start_many(
        [{"kind": "fire", "steps": steps(random_, gate), "max_recoveries": 1000} for _ in range(count)]
    )
    killed = 0
    while killed < kills:
        victims = wait_until(lambda: in_user_code(stage, workers), every=0.01, what="somebody to kill")
        try:
            os.kill(random_.choice(victims), signal.SIGKILL)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
        killed += 1
        wait_until(lambda: sum(len(worker.children()) for worker in workers) >= 3, what="children again")
    gate.touch()  # until here there was somebody to kill
    ids = [run.id for run in runs]
    for run in stage.finished(*ids):
        assert run.status in ("completed", "rolled_back"), f"seed {seed}\n{timeline(stage.engine, run.id)}"
    assert not stage.breaches(*ids), f"seed {seed}"
    assert stage.engine.audit() == [], f"seed {seed}"
    died = sum(outcome == "died" for one in ids for outcome in stage.outcomes(one))
    for process in (*workers, beat):
        process.teardown()
    return died


def test_forty_sagas_survive_ten_kills(stage):
    assert under_fire(stage, count=40, kills=10, seed=2) >= 5


@pytest.mark.chaos
def test_two_hundred_sagas_survive_fifty_kills(stage):
    seed = int(os.environ.get("CHAOS_SEED", random.randrange(10**6)))
    assert under_fire(stage, count=200, kills=50, seed=seed) >= 30, f"seed {seed}"
