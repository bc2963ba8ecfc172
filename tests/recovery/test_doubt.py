"""A step whose worker died in it: asked by its probe, or left to a person."""

import threading

import pytest

from sagaworker import InvalidInput, Probed, UnknownStep
from sagaworker.domain.status import RunStatus, StepStatus
from sagaworker.engine import Engine
from sagaworker.episodes import ThreadPlace
from tests.episodes import steps
from tests.holding import advance, claimed, end_quarantine, expire
from tests.showing import timeline
from tests.waiting import wait_until

S = "tests.episodes.steps:"


@pytest.fixture(autouse=True)
def clean():
    steps.EFFECTS.clear()
    steps.Probes.hook = steps.AsksNobody.hook = None
    steps.Probes.answer = lambda _state: Probed.unknown()


def doubted(engine, name, *, after=("steps.echo",), before=(S + "Works",), witnessed=True, **options):
    """A saga whose worker died in that step, free to go on."""
    run = engine.start("pay", [*before, S + name, *after], recovery_policy="restart", **options)
    hold = claimed(engine, run.id)
    for _ in before:
        advance(hold)
    hold.close()
    if witnessed:
        assert engine.take_over_dead(engine.owner) == 1
    else:
        expire(engine, run.id)
        assert engine.sweep().restarted == 1
    return run


def row(engine, run, idx=1):
    return engine.list_step_results(run.id)[idx]


def test_a_probe_that_finds_it_completed_records_it_without_a_new_attempt_and_goes_on(engine):
    steps.Probes.answer = lambda state: Probed.completed(state.put_output("charge", "ch_7"))
    run = doubted(engine, "Probes")
    done = engine.run(run.id)
    assert done.status is RunStatus.COMPLETED, timeline(engine, run.id)
    assert done.context["charge"] == "ch_7"
    assert (row(engine, run).attempts, row(engine, run).in_doubt) == (1, 1)
    assert steps.EFFECTS == ["probe 1 attempt 1"]


def test_a_probe_of_the_last_step_that_finds_it_completed_completes_the_saga(engine):
    steps.Probes.answer = Probed.completed
    run = doubted(engine, "Probes", after=())
    assert engine.run(run.id).status is RunStatus.COMPLETED, timeline(engine, run.id)


def test_a_probe_that_finds_nothing_ends_the_doubt_and_the_step_is_begun_again(engine):
    steps.Probes.answer = lambda _state: Probed.absent()
    run = doubted(engine, "Probes")
    assert engine.run(run.id).status is RunStatus.COMPLETED, timeline(engine, run.id)
    assert (row(engine, run).attempts, row(engine, run).in_doubt) == (2, 0)
    assert steps.EFFECTS == ["probe 1 attempt 1", "execute 1"]


def test_a_definite_failure_after_the_doubt_was_ended_undoes_only_what_came_before(engine):
    steps.Probes.answer = lambda _state: Probed.absent()

    def declines(_state):
        raise steps.StepFailed("declined")

    steps.Probes.hook = declines
    run = doubted(engine, "Probes")
    assert engine.run(run.id).status is RunStatus.ROLLED_BACK, timeline(engine, run.id)
    assert row(engine, run).status is StepStatus.FAILED
    assert steps.EFFECTS == ["probe 1 attempt 1", "undo 0 completed last=None"]


def test_that_nothing_is_there_counts_only_when_no_late_effect_can_come(engine):
    answers = []
    steps.Probes.answer = lambda _state: answers.append(1) or Probed.absent()
    run = doubted(engine, "Probes", witnessed=False)
    parked = engine.run(run.id)
    assert (parked.status, parked.waiting_for) == (RunStatus.RUNNING, "quarantine")
    end_quarantine(engine, run.id)
    assert engine.run(run.id).status is RunStatus.COMPLETED, timeline(engine, run.id)
    assert len(answers) == 2
    assert row(engine, run).in_doubt == 0


def test_that_it_completed_counts_at_once(engine):
    steps.Probes.answer = Probed.completed
    run = doubted(engine, "Probes", witnessed=False)
    assert engine.run(run.id).status is RunStatus.COMPLETED


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda _state: Probed.unknown(), ""),
        (lambda _state: Probed.unknown("two charges fit"), "two charges fit"),
        (lambda _state: 1 / 0, "division by zero"),
        (lambda _state: None, "probe must return Probed.completed(state)"),
        (lambda state: state, "probe must return Probed.completed(state)"),
        (lambda _state: Probed.completed(None), "Probed.completed of probe must return"),
    ],
)
def test_a_probe_that_cannot_tell_leaves_it_to_a_person_who_is_told_why(engine, answer, said):
    steps.Probes.answer = answer
    run = doubted(engine, "Probes")
    parked = engine.run(run.id)
    assert (parked.status, parked.waiting_for) == (RunStatus.RUNNING, "operator")
    assert said in str((row(engine, run).error or {}).get("message", ""))
    assert said in engine.explain(run.id).text


def test_a_cancel_is_not_kept_waiting_by_a_probe_and_undoes_the_step_in_doubt(engine):
    run = doubted(engine, "Probes")
    engine.cancel(run.id)
    assert engine.run(run.id).status is RunStatus.ROLLED_BACK, timeline(engine, run.id)
    assert steps.EFFECTS == ["undo 1 unknown last=None", "undo 0 completed last=None"]


def test_halt_waits_for_a_person_and_does_nothing(engine):
    run = doubted(engine, "AsksNobody")
    assert engine.run(run.id).waiting_for == "operator"
    assert engine.run(run.id).waiting_for == "operator"
    assert steps.EFFECTS == []


def test_a_step_that_says_probe_must_have_one(engine, monkeypatch):
    monkeypatch.setattr(steps.Probes, "probe", None)
    with pytest.raises(UnknownStep, match="must have a function probe"):
        engine.start("pay", [S + "Probes"])


def test_outputs_of_a_probe_are_bound_by_the_limits(engine):
    steps.Probes.answer = lambda state: Probed.completed(state.put_output("big", "x" * 2_000_000))
    run = doubted(engine, "Probes")
    assert engine.run(run.id).waiting_for == "operator"
    with pytest.raises(InvalidInput, match="outputs must be at most"):
        engine.resolve(run.id, happened=True, outputs={"big": "x" * 2_000_000}, reason="seen", who="ann")


def test_a_probe_that_hangs_loses_its_saga_though_its_process_lives(engine, monkeypatch):
    """Its row has no deadline of an attempt, and nothing else ends a thread: the heartbeat stops for it."""
    release, ended = threading.Event(), []
    steps.Probes.answer = lambda _state: (release.wait(60), Probed.absent())[1]
    monkeypatch.setattr(steps.Probes, "TIMEOUT", 0.2, raising=False)
    run = doubted(engine, "Probes")
    with Engine(engine.settings.replace(lease=0.6, step_grace=0.1)) as hanging:
        thread = threading.Thread(target=lambda: ended.append(hanging.run_episode(run.id, place=ThreadPlace())))
        thread.start()
        wait_until(lambda: engine.sweep().restarted == 1, timeout=30, what="a takeover from the living process")
        release.set()
        thread.join(30)
    assert ended[0].outcome == "fenced"
    steps.Probes.answer = lambda _state: Probed.absent()
    assert engine.run(run.id).status is RunStatus.COMPLETED, timeline(engine, run.id)
