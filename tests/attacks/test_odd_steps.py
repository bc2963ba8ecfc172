"""Whatever a step does, its saga has a recorded outcome, other sagas are unharmed, and the audit finds nothing."""

import os
import signal

import pytest

from sagaworker.domain.status import RunStatus, StepStatus
from sagaworker.episodes import HostPlace, ThreadPlace
from tests.attacks import odd_steps
from tests.showing import timeline

S = "tests.attacks.odd_steps:"


@pytest.mark.parametrize("odd", odd_steps.ODD)
def test_however_a_step_raises_its_failure_is_on_record_and_undone(engine, odd):
    for place in (ThreadPlace(), HostPlace()):
        odd_steps.EFFECTS.clear()
        run = engine.start("t", [S + "Works", S + "Odd"], inputs={"odd": odd})
        end = engine.run_episode(run.id, place=place)
        assert end.outcome == "rolled_back", timeline(engine, run.id)
    row = engine.list_step_results(run.id)[1]
    is_definite = odd_steps.ODD[odd][1]
    assert row.status is (StepStatus.FAILED if is_definite else StepStatus.COMPENSATED)
    assert row.in_doubt == int(not is_definite)
    assert len(str(row.error)) < 5000
    undone = ["undo 0 completed"] if is_definite else ["undo 1 unknown", "undo 0 completed"]
    assert ["execute 0", "execute 1", *undone] == odd_steps.EFFECTS


@pytest.mark.parametrize("odd", odd_steps.ODD)
def test_however_an_undo_raises_its_failure_is_on_record_and_the_walk_goes_on(engine, odd):
    run = engine.start("t", [S + "Works", S + "OddUndo", "steps.fail"], inputs={"odd": odd})
    assert engine.run(run.id).status is RunStatus.FAILED, timeline(engine, run.id)
    assert [str(row.status) for row in engine.list_step_results(run.id)] == [
        "compensated",
        "compensation_failed",
        "failed",
    ]


@pytest.mark.parametrize("how", ["returns", "raises", "leaves"])
def test_a_child_that_a_step_forked_never_reaches_the_ledger(engine, how):
    run = engine.start("t", [S + "Forks", S + "Works"], inputs={"how": how})
    done = engine.run(run.id)
    assert done.status is RunStatus.COMPLETED, timeline(engine, run.id)
    assert done.context == {"from": "parent"}
    assert odd_steps.EFFECTS[0].startswith("child ")
    assert [e.type for e in engine.timeline(run.id).journal].count("step.completed") == 2


def test_a_step_that_takes_the_alarm_away_does_not_unbind_the_next_one(engine):
    run = engine.start("t", [S + "TakesTheAlarm", S + "Hangs"])
    assert engine.run(run.id).status is RunStatus.ROLLED_BACK, timeline(engine, run.id)
    assert engine.list_step_results(run.id)[1].error["kind"] == "StepTimedOut"


def test_a_step_that_walks_another_saga_keeps_its_own_time_out(engine, monkeypatch):
    other = engine.start("t", ["steps.echo"])
    walked = []

    def hook(state):
        walked.append(engine.run(other.id).status)
        odd_steps.Hangs().execute(state)

    monkeypatch.setattr(odd_steps.Calls, "hook", staticmethod(hook))
    monkeypatch.setattr(odd_steps.Calls, "TIMEOUT", 0.3, raising=False)
    run = engine.start("t", [S + "Calls"])
    assert engine.run(run.id).status is RunStatus.ROLLED_BACK, timeline(engine, run.id)
    assert walked == [RunStatus.COMPLETED]
    assert engine.list_step_results(run.id)[0].error["kind"] == "StepTimedOut"


def test_an_alarm_of_the_host_survives_an_episode(engine):
    rung = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    try:
        signal.setitimer(signal.ITIMER_REAL, 100)
        engine.run(engine.start("t", ["steps.echo"]).id)
        assert 90 < signal.getitimer(signal.ITIMER_REAL)[0] <= 100
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        engine.run(engine.start("t", [S + "Hangs"]).id)
        signal.sigtimedwait([], 0.05)
        assert rung == [1]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_ctrl_c_in_a_saga_that_a_step_walks_interrupts_both(engine, monkeypatch):
    inner = engine.start("t", [S + "Calls"])
    outer = engine.start("t", [S + "Calls"])

    def hook(state):
        if state.attempt > 1:
            return
        if state.saga_id == outer.id:
            engine.run(inner.id)
        else:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(odd_steps.Calls, "hook", staticmethod(hook))
    with pytest.raises(KeyboardInterrupt):
        engine.run(outer.id)
    for run in (inner, outer):
        assert engine.run(run.id).status is RunStatus.COMPLETED, timeline(engine, run.id)
        assert [e.outcome for e in engine.timeline(run.id).episodes] == ["died", "completed"]


def test_what_a_step_does_to_its_params_reaches_no_other_attempt(engine, monkeypatch):
    seen = []

    def hook(state):
        seen.append(dict(state.params))
        state.params["list"].append(len(seen))
        if state.attempt < 3:
            raise ConnectionError

    monkeypatch.setattr(odd_steps.Calls, "hook", staticmethod(hook))
    monkeypatch.setattr(odd_steps.Calls, "RETRY", odd_steps.RetryPolicy(max_attempts=3, base=0), raising=False)
    run = engine.start("t", [{"step": S + "Calls", "params": {"list": []}}])
    assert engine.run(run.id).status is RunStatus.COMPLETED, timeline(engine, run.id)
    assert [len(params["list"]) for params in seen] == [1, 1, 1]


def test_a_step_may_start_cancel_and_walk_sagas_its_own_included(engine, monkeypatch):
    did = []

    def hook(state):
        did.append(engine.run(state.saga_id).status)
        child = engine.start("child", ["steps.echo"], key=state.idempotency_key)
        did.append(engine.run(child.id).status)
        did.append(engine.cancel(state.saga_id))

    monkeypatch.setattr(odd_steps.Calls, "hook", staticmethod(hook))
    run = engine.start("t", [S + "Calls"])
    assert engine.run(run.id).error_class == "cancelled"
    assert did == [RunStatus.RUNNING, RunStatus.COMPLETED, "requested"]


def test_a_state_kept_from_an_earlier_attempt_is_not_taken(engine, monkeypatch):
    kept = []

    def hook(state):
        kept.append(state)
        if state.attempt == 1:
            raise ConnectionError
        return kept[0].put_output("stale", True)

    monkeypatch.setattr(odd_steps.Calls, "hook", staticmethod(hook))
    monkeypatch.setattr(odd_steps.Calls, "RETRY", odd_steps.RetryPolicy(max_attempts=2, base=0), raising=False)
    run = engine.start("t", [S + "Calls"])
    assert engine.run(run.id).status is RunStatus.ROLLED_BACK
    assert "must return the state it was given" in engine.list_step_results(run.id)[0].error["message"]
