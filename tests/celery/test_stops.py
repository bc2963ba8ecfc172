"""Polite stops: sagas in every phase are yielded between two steps, and another worker goes on at once."""

from __future__ import annotations

import signal
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.celery.stage import ACTS, FAILS_ONCE, WAITS
from tests.showing import timeline
from tests.steps_for_tests import journal
from tests.waiting import PATIENCE, wait_until


@dataclass(frozen=True)
class Phases:
    """One saga in each phase in which a stop can find it. Three are held there until `gate` is made."""

    gate: Path
    between: str
    inside: str
    retrying: str
    undoing: str

    @property
    def ids(self):
        return (self.between, self.inside, self.retrying, self.undoing)

    def open_once_heard(self, stage):
        """Let go of the held ones once the stop has reached the one that comes to a next step all the time."""
        wait_until(lambda: stage.outcomes(self.between)[-1] != "None", what="the stop was heard")
        self.gate.touch()


@pytest.fixture(scope="module")
def stage_settings():
    return {"lease": 600.0, "sweep_interval": 4.0}  # so long that nothing but the stop itself can explain a resume


def in_every_phase(stage):
    """Start four sagas and wait until each is in its phase."""
    gate = stage.folder / f"gate-{uuid.uuid4()}"
    quick = {"step": ACTS, "params": {"seconds": 0.1, "gate": str(gate)}}  # without a pause, once the gate is open
    slow = {"step": WAITS, "params": {"gate": str(gate)}}
    undone = {"step": WAITS, "params": {"undo_gate": str(gate)}}
    refused = {"step": FAILS_ONCE, "params": {"gate": str(gate)}}
    start = stage.engine.start
    phases = Phases(
        gate=gate,
        between=start("between", [quick] * 600).id,
        inside=start("inside", [slow] * 3).id,
        retrying=start("retrying", [quick, refused, quick]).id,
        undoing=start("undoing", [undone, undone, {"step": ACTS, "params": {"fail": True}}]).id,
    )
    stage.holder(phases.between)
    stage.holder(phases.inside)
    wait_until(lambda: "refused" in everything_said(stage, phases.retrying), what="in its retry wait or after it")
    wait_until(lambda: said(stage, phases.undoing) == "undoing", what="inside an undo")
    return phases


def said(stage, saga_id):
    lines = journal.read(stage.effects)[saga_id]
    return lines and lines[-1]["what"]


def everything_said(stage, saga_id):
    return [line["what"] for line in journal.read(stage.effects)[saga_id]]


def task_of(stage, saga_id):
    return stage.engine.timeline(saga_id).episodes[-1].task_id


def to_main(number):
    return lambda stage, worker, phases: worker.kill(number)


def to_group(number):
    return lambda stage, worker, phases: worker.kill_group(number)


def cold_after_warm(stage, worker, phases):
    worker.kill(signal.SIGTERM)
    wait_until(lambda: "Warm shutdown" in worker.logs())
    worker.kill(signal.SIGQUIT)


def remote(stage, worker, phases):
    stage.client.control.shutdown()


WAYS = {
    "SIGTERM to main": (to_main(signal.SIGTERM), {}),
    "SIGTERM to the group": (to_group(signal.SIGTERM), {}),
    "SIGQUIT to main": (to_main(signal.SIGQUIT), {}),
    "SIGQUIT to the group": (to_group(signal.SIGQUIT), {}),
    "SIGTERM, then SIGQUIT": (cold_after_warm, {}),
    "Ctrl-C": (to_group(signal.SIGINT), {}),
    "SIGTERM remapped": (to_main(signal.SIGTERM), {"REMAP_SIGTERM": "SIGQUIT"}),
    "remote shutdown": (remote, {}),
}


class Succession:
    """The worker of this moment: each test stops it, and the next worker finishes what it yielded."""

    def __init__(self, stage):
        self._stage = stage
        self._worker = None
        self._kind = None

    def current(self, pool: str, env: dict[str, str]):
        """The worker if it is of this kind, else a new one in its place."""
        if self._kind != (pool, env):
            if self._worker is not None:
                self._worker.teardown()
            self._kind = (pool, env)
            self._worker = self._stage.worker("-P", pool, "-c", "4", env=env)
        return self._worker

    def following(self):
        """A new worker, while the one before it still ends."""
        self._kind = ("prefork", {})
        self._worker = self._stage.worker("-P", "prefork", "-c", "4")
        return self._worker


@pytest.fixture(scope="module")
def succession(stage):
    return Succession(stage)


def assert_yielded(stage, saga_id):
    """The last episode let go politely: no doubt, no attempt lost or counted."""
    found = stage.engine.timeline(saga_id)
    assert found.episodes[-1].outcome == "yielded", timeline(stage.engine, saga_id)
    assert found.run.recoveries == 0, timeline(stage.engine, saga_id)
    for row in found.steps:
        assert row.in_doubt == row.recoveries == row.compensation_recoveries == 0, timeline(stage.engine, saga_id)


@pytest.mark.parametrize(
    ("way", "pool"),
    [
        *((way, "prefork") for way in WAYS),
        *((way, "threads") for way in ("SIGTERM to main", "SIGQUIT to main", "remote shutdown")),
    ],
)
def test_a_stop_leaves_no_doubt_and_another_worker_goes_on(stage, succession, way, pool):
    stop, env = WAYS[way]
    worker = succession.current(pool, env)
    phases = in_every_phase(stage)
    stop(stage, worker, phases)
    phases.open_once_heard(stage)
    wait_until(lambda: all(stage.outcomes(one)[-1] != "None" for one in phases.ids), what="all let go")
    for saga_id in phases.ids:
        assert_yielded(stage, saga_id)
    succession.following()
    for run in stage.finished(*phases.ids):
        assert run.recoveries == 0
        attempts = [row.attempts for row in stage.engine.list_step_results(run.id)]
        assert attempts == ([1, 2, 1] if run.kind == "retrying" else [1] * len(attempts)), timeline(
            stage.engine, run.id
        )
    assert not stage.breaches(*phases.ids)
    worker.wait()


def test_a_terminated_task_is_yielded_and_its_child_ends(stage, succession):
    worker = succession.current("prefork", {})
    phases = in_every_phase(stage)
    pids = {saga_id: journal.read(stage.effects)[saga_id][-1]["pid"] for saga_id in phases.ids}
    tasks = [task_of(stage, saga_id) for saga_id in phases.ids]
    # The answer comes after the last signal was sent.
    assert stage.client.control.revoke(tasks, terminate=True, reply=True, timeout=PATIENCE, limit=1)
    phases.open_once_heard(stage)
    for run in stage.finished(*phases.ids):
        assert run.recoveries == 0
        assert stage.outcomes(run.id)[0] == "yielded"
    wait_until(lambda: not {child.pid for child in worker.children()} & set(pids.values()), what="the children ended")
    assert worker.status == "running"
    assert not stage.breaches(*phases.ids)


def test_the_ledger_is_sound_after_all_these_stops(stage):
    assert stage.engine.audit() == []
