"""Decisions that arrive when the saga is not where it was: each acts on what it saw, or not at all."""

from __future__ import annotations

import pytest

from sagaworker import MoveRefused
from sagaworker.domain.state import Probed
from sagaworker.domain.status import RunStatus
from sagaworker.episodes import ChildPlace, HostPlace
from sagaworker.ledger.line import Line
from tests.episodes import steps
from tests.holding import claimed
from tests.recovery.abandoned import another, execute
from tests.showing import timeline

S = "tests.episodes.steps:"
WHY = {"reason": "asked the bank", "who": "ann"}


@pytest.fixture(autouse=True)
def _clean():
    steps.EFFECTS.clear()
    steps.Probes.hook = steps.AsksNobody.hook = steps.Calls.hook = None
    steps.UndoFailsUntilRepaired.is_broken = True


def doubted(engine, *names):
    """A saga whose worker died in its first step and which was walked again."""
    run = engine.start("t", [S + name for name in names], recovery_policy="restart")
    died(engine, run.id)
    return engine.run(run.id)


def died(engine, saga_id):
    claimed(engine, saga_id).close()
    engine.take_over_dead(engine.owner)


def test_a_hold_that_is_released_at_once_makes_no_holder_believe_that_it_is_fenced(engine, monkeypatch):
    one, held = Line.one, []

    def slow(self, name, parameters):
        if name != "begin" or held:
            return one(self, name, parameters)
        held.append(engine.hold(run.id, **WHY))
        found = one(self, name, parameters)
        engine.release(run.id, **WHY)
        return found

    monkeypatch.setattr(Line, "one", slow)
    monkeypatch.setattr(Line, "locked", slow)
    steps.Calls.hook = None
    run = engine.start("t", [S + "RaisesThenWorks"])
    assert engine.run_episode(run.id, place=HostPlace()).outcome == "completed", timeline(engine, run.id)
    assert held


def test_a_retry_decided_for_one_step_moves_no_other(engine, monkeypatch):
    steps.Probes.answer = lambda _state: Probed.unknown()
    run = doubted(engine, "AsksNobody", "Probes")
    assert run.waiting_for == "operator"
    retry_step = engine.operating.retry_step

    def late(order, **options):
        with another(engine) as bob:
            bob.resolve(run.id, happened=True, outputs={}, **WHY)
            died(bob, run.id)
            assert bob.run(run.id).waiting_for == "operator"
        return retry_step(order, **options)

    monkeypatch.setattr(engine.operating, "retry_step", late)
    with pytest.raises(MoveRefused):
        engine.retry(run.id, **WHY)
    assert [entry.type for entry in engine.timeline(run.id).journal].count("operator.retried") == 0


def test_the_failed_undo_of_a_step_that_is_not_here_can_be_retried(engine):
    run = engine.run(engine.start("t", [S + "UndoFailsUntilRepaired", S + "Declines"]).id)
    assert run.status is RunStatus.FAILED
    with another(engine, step_packages=("steps",)) as elsewhere:
        assert elsewhere.retry(run.id, **WHY).status is RunStatus.COMPENSATING
    steps.UndoFailsUntilRepaired.is_broken = False
    assert engine.run(run.id).status is RunStatus.ROLLED_BACK


@pytest.mark.parametrize("move", ["retry", "skip", "resolve"])
def test_what_is_archived_is_moved_by_nobody(engine, move):
    run = doubted(engine, "AsksNobody")
    execute(engine, "UPDATE saga_runs SET archived_at = now()")
    with pytest.raises(MoveRefused):
        getattr(engine, move)(run.id, **({"happened": True, "outputs": {}} if move == "resolve" else {}), **WHY)
    assert engine.get(run.id).waiting_for == "operator"
    execute(engine, "UPDATE saga_runs SET archived_at = NULL")


def test_a_step_that_raises_a_ctrl_c_in_a_worker_fails_like_any_other(engine):
    def interrupts(_state):
        steps.EFFECTS.append("entered")
        raise KeyboardInterrupt

    steps.Calls.hook = interrupts
    run = engine.start("t", [S + "Calls"])
    assert engine.run_episode(run.id, place=ChildPlace()).status is RunStatus.ROLLED_BACK
    assert steps.EFFECTS.count("entered") == 1
    assert engine.list_step_results(run.id)[0].in_doubt == 1
