"""A worker that was given up may still act: until its hard end, no takeover of a later one lets the undo begin."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from sagaworker.domain.status import RunStatus
from sagaworker.episodes import ThreadPlace
from tests.episodes import steps
from tests.holding import claimed, end_quarantine, expire
from tests.recovery.abandoned import another
from tests.showing import timeline
from tests.waiting import PATIENCE

S = "tests.episodes.steps:"

# What the second worker had come to when it was paused: what it leaves on record says less than what the first left.
SECOND = {
    "before it began": lambda _hold: None,
    "in an attempt with a shorter TIMEOUT": lambda hold: hold.begin(timedelta(seconds=1)),
}


@pytest.mark.parametrize("paused", SECOND)
def test_a_second_takeover_leaves_the_undo_waiting_for_the_worker_that_was_given_up_first(engine, paused):
    entered, gate, ends = threading.Event(), threading.Event(), []
    steps.EFFECTS.clear()
    steps.Calls.hook = lambda _state: (entered.set(), gate.wait(PATIENCE))
    run = engine.start("t", [S + "Calls"], recovery_policy="restart")
    with another(engine, lease=3600.0) as first:  # so long that no beat comes while it counts as paused
        late = threading.Thread(target=lambda: ends.append(first.run_episode(run.id, place=ThreadPlace())), daemon=True)
        late.start()
        assert entered.wait(PATIENCE)
        expire(engine, run.id)
        assert engine.sweep().restarted == 1
        quarantine = engine.list_step_results(run.id)[0].quarantine_until
        hold = claimed(engine, run.id)
        SECOND[paused](hold)
        hold.close()
        expire(engine, run.id)
        assert engine.sweep(resolve_policy=lambda _run: "compensate").compensated == 1
        assert engine.run(run.id).waiting_for == "quarantine", timeline(engine, run.id)
        assert engine.list_step_results(run.id)[0].quarantine_until == quarantine
        gate.set()
        late.join(PATIENCE)
        assert ends[0].outcome == "fenced"
    assert steps.EFFECTS == ["execute 0"]
    end_quarantine(engine, run.id)
    assert engine.run(run.id).status is RunStatus.ROLLED_BACK, timeline(engine, run.id)
    assert steps.EFFECTS == ["execute 0", "undo 0 unknown last=None"]
