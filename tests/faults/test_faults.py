"""A seeded choice of all single faults and all ordered pairs; `make faults` runs the whole."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from sagaworker.engine import Engine
from sagaworker.errors import InvalidSetting
from sagaworker.failpoints import POINTS, Failpoints, parsed
from sagaworker.settings import Settings
from tests.faults.cases import STORIES, WORKS, pairs, singles

ROOT = Path(__file__).parents[2]
SAMPLE = 100


def test_no_promise_is_broken_by_any_of_these_faults_and_pairs_of_faults(database_url):
    command = [sys.executable, "-m", "tests.faults", "--database-url", database_url, "--sample", str(SAMPLE)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5_000:]


def test_every_point_is_hurt_alone_and_every_two_in_both_orders():
    alone = {case.faults[0].partition("=")[0].partition("@")[0] for case in singles()}
    assert alone == set(POINTS)
    both = [case.faults for case in pairs()]
    assert len(both) == len(set(both))
    assert {(second, first) for first, second in both} == set(both)
    for story in (WORKS, *STORIES):
        own = {re.sub(r"@\d", "", case.faults[0]) for case in singles() if case.story == story}
        assert {(a, b) for a in own for b in own} <= set(both)


def test_what_moves_a_saga_outside_an_episode_is_hurt_too_and_lands_once(database_url, tmp_path):
    points = ("start.after=drop", "hold.before=drop", "release.after=raise", "cancel.after=drop")
    failpoints = Failpoints(parsed(",".join(points)), tmp_path)
    with Engine(Settings(database_url=database_url), failpoints=failpoints) as engine:
        run = engine.start("hurt", ["steps.echo"])
        engine.hold(run.id, reason="to see", who="ann")
        engine.release(run.id, reason="seen", who="ann")
        engine.cancel(run.id)
        assert [entry.type for entry in engine.timeline(run.id).journal] == [
            "saga.started",
            "operator.held",
            "operator.released",
            "saga.cancel_requested",
        ]
    fired = {path.name.partition("-")[2] for path in tmp_path.iterdir()}
    assert fired == {point.replace("=", "-") for point in points}


def test_failpoints_are_refused_outside_tests():
    with pytest.raises(InvalidSetting, match="must be unset outside tests"):
        Failpoints.from_env({"SAGAWORKER_FAILPOINTS": "advance.before=kill"})


@pytest.mark.parametrize("text", ["advance.before", "nowhere.before=kill", "execute.after=drop", "claim.after@x=kill"])
def test_a_failpoint_that_cannot_be_is_refused(text):
    with pytest.raises(InvalidSetting, match="must hold entries like"):
        parsed(text)


def test_a_second_fault_waits_for_the_first_and_each_fires_once(tmp_path):
    failpoints = Failpoints(parsed("execute.before@1=raise>execute.after=raise"), tmp_path)
    failpoints.hit("execute.after", 1)
    failpoints.hit("execute.before", 0)
    with pytest.raises(RuntimeError, match=r"execute\.before at step 1"):
        failpoints.hit("execute.before", 1)
    with pytest.raises(RuntimeError, match=r"execute\.after at step 1"):
        failpoints.hit("execute.after", 1)
    failpoints.hit("execute.before", 1)
    failpoints.hit("execute.after", 1)
