"""kill -9 of real workers at every named point around each commit and each effect, in the pool child and in main.

All points are armed at once; each fires once, in whatever saga comes by first. At the end every point has fired, every
saga has ended, the ledger is sound and the world agrees with it.
"""

from __future__ import annotations

import signal
import threading

import pytest

from sagaworker.failpoints import POINTS
from tests.celery.stage import ACTS, WAITS
from tests.showing import timeline
from tests.waiting import PATIENCE, wait_until

ENDS = {"completed", "rolled_back"}
SAGAS = 8


@pytest.fixture(scope="module")
def stage_settings():
    return {"lease": 1.0, "sweep_interval": 0.5, "step_grace": 0.5}


class Supervisor:
    """Starts a worker again whenever it ended, as systemd would."""

    def __init__(self, stage, *options, env):
        self._stopped = threading.Event()
        self.deaths = 0
        self.worker = stage.unready(*options, env=env)  # it may be killed as soon as it is ready
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self):
        while not self._stopped.wait(0.05):
            if self.worker.status != "running":
                self.deaths += 1
                self.worker.start()

    def stop(self):
        self._stopped.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the supervisor must end when it is told to"
        self.worker.teardown()


def armed(folder, points):
    folder.mkdir()
    return {
        "SAGAWORKER_TESTING": "1",
        "SAGAWORKER_FAILPOINTS": ",".join(f"{point}=kill" for point in points),
        "SAGAWORKER_FAILPOINTS_FOLDER": str(folder),
    }


def fired(folder):
    """The points that have fired: the folder has a file `3-claim.after-kill` for each, its number first."""
    return {path.name.split("-")[1].partition("@")[0] for path in folder.iterdir()}


def start_by_message(stage, kind, steps, **options):
    """As a client does that hears nothing of its message: send the same one again until the saga is there."""
    task_id = stage.send("sagaworker.start_saga", kind, steps, **options)

    def is_there():
        found = stage.engine.list(kind=kind, key=f"task:{task_id}")
        if not found:
            stage.send("sagaworker.start_saga", kind, steps, task_id=task_id, **options)
        return found

    return wait_until(is_there, every=1.0, what=f"{kind} started")[0].id


def sagas(stage, kind):
    """Some of every sort, started through the broker."""
    acts = {"step": ACTS, "params": {"seconds": 0.01, "undo_seconds": 0.01}}
    fails = {"step": ACTS, "params": {"fail": True}}
    lists = [[acts] * 3, [acts, acts, fails], [acts] * 6, [acts, "tests.steps_for_tests.acts:FailsOnce", acts]]
    options = {"max_recoveries": 50}
    return [start_by_message(stage, kind, lists[n % len(lists)], **options) for n in range(SAGAS)]


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_every_point_may_kill_the_process_and_no_saga_is_lost(stage, tmp_path, pool):
    beat = stage.beat()
    # The moves that these sagas make; the others are hit in tests/faults/test_faults.py.
    made = ("start", "claim", "begin", "execute", "advance", "fail", "compensate", "compensated", "take_over")
    points = [point for point in POINTS if point.partition(".")[0] in made]
    folder = tmp_path / "fired"
    gate = tmp_path / "gate"
    orphan = stage.engine.start("orphan", [{"step": WAITS, "params": {"gate": str(gate)}}] * 2, max_recoveries=50)
    lost = stage.worker()
    stage.holder(orphan.id)
    lost.teardown()  # all of its processes at once, so that a sweep has somebody to take over
    gate.touch()
    env = armed(folder, points)
    supervisors = []
    try:
        # Two, so that one works while the other starts again.
        supervisors.extend(Supervisor(stage, "-P", pool, "-c", "2", env=env) for _ in range(1 + (pool == "threads")))
        # By the sweep first: later a takeover may be the witness's, and its point would end main.
        wait_until(lambda: {"take_over.before", "take_over.after"} <= fired(folder), what="the orphan was taken")
        ids = [orphan.id, *sagas(stage, f"armed {pool}")]
        for run in stage.finished(*ids):
            assert run.status in ENDS, timeline(stage.engine, run.id)
        wait_until(lambda: fired(folder) == set(points), what=f"all of {points} fired, but {fired(folder)}")
    finally:
        for supervisor in supervisors:
            supervisor.stop()
        beat.teardown()
    assert (sum(supervisor.deaths for supervisor in supervisors) > 0) == (pool == "threads")
    assert len(stage.engine.list(kind=f"armed {pool}", limit=100)) == SAGAS
    assert not stage.breaches(*ids)
    assert stage.engine.audit() == []


@pytest.mark.parametrize("point", ["yield.before", "yield.after"])
def test_a_kill_in_the_middle_of_a_polite_stop_loses_nothing(stage, tmp_path, point):
    worker = stage.worker(env=armed(tmp_path / "fired", [point]))
    gate = tmp_path / "gate"
    steps = [{"step": ACTS, "params": {"seconds": 0.3, "gate": str(gate)}}] * 200  # far more than pass before the stop
    run = stage.engine.start("stopped", steps, max_recoveries=50)
    stage.holder(run.id)
    worker.kill(signal.SIGTERM)
    wait_until(lambda: fired(tmp_path / "fired"), what=f"{point} fired")
    worker.teardown()
    gate.touch()
    beat, other = stage.beat(), stage.worker()
    assert stage.finished(run.id).status == "completed"
    assert not stage.breaches(run.id)
    assert stage.engine.audit() == []
    beat.teardown()
    other.teardown()
