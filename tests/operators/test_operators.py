"""What people do: hold, release, retry, skip, resolve. Every move is journaled, and refused on a stale view."""

import psycopg
import pytest

from sagaworker import InvalidInput, MoveRefused, Probed, SagaNotFound, StaleView
from sagaworker.domain.status import RunStatus, StepStatus
from sagaworker.domain.walk import Retry
from sagaworker.ledger import requested as requested_module
from tests.episodes import steps
from tests.holding import TIMEOUT, advance, claimed, end_quarantine
from tests.races.test_fences import racing
from tests.recovery.test_doubt import doubted, row
from tests.showing import timeline

S = "tests.episodes.steps:"
WHY = {"reason": "asked the bank", "who": "ann"}


@pytest.fixture(autouse=True)
def clean():
    steps.EFFECTS.clear()
    steps.Probes.hook = steps.AsksNobody.hook = None
    steps.UndoFailsUntilRepaired.is_broken = True


def statuses(engine, run):
    return [str(step.status) for step in engine.list_step_results(run.id)]


def parked(engine, name="AsksNobody", **options):
    """A saga that waits for an operator because of a step in doubt."""
    run = doubted(engine, name, **options)
    assert engine.run(run.id).waiting_for == "operator", timeline(engine, run.id)
    return run


def halted(engine, *names, **options):
    options = {"on_compensation_failure": "halt", **options}
    run = engine.start("t", [S + name for name in (*names, "Declines")], **options)
    return engine.run(run.id)


def last(engine, run):
    return engine.timeline(run.id).journal[-1]


# -- a step in doubt -----------------------------------------------------------------------------------------------------


def test_a_doubted_step_that_happened_is_completed_with_the_outputs_a_person_gives(engine, rung):
    run = parked(engine)
    rung.clear()
    engine.resolve(run.id, happened=True, outputs={"charge": "ch_7"}, **WHY)
    entry = last(engine, run)
    assert (entry.type, entry.data["who"], entry.data["reason"]) == ("operator.resolved", "ann", "asked the bank")
    assert rung == [run.id]
    assert statuses(engine, run) == ["completed", "completed", "pending"]
    done = engine.run(run.id)
    assert done.status is RunStatus.COMPLETED, timeline(engine, run.id)
    assert done.context["charge"] == "ch_7"
    assert row(engine, run).attempts == 1
    assert steps.EFFECTS == []


def test_the_last_step_that_happened_completes_the_saga(engine):
    run = parked(engine, after=())
    done = engine.resolve(run.id, happened=True, outputs={"charge": "ch_7"}, **WHY)
    assert done.status is RunStatus.COMPLETED
    assert done.context["charge"] == "ch_7"


def test_a_doubted_step_that_did_not_happen_is_begun_again_and_its_doubt_is_over(engine):
    run = parked(engine)
    engine.resolve(run.id, happened=False, **WHY)
    assert engine.run(run.id).status is RunStatus.COMPLETED, timeline(engine, run.id)
    assert (row(engine, run).attempts, row(engine, run).in_doubt) == (2, 0)


def test_that_it_did_not_happen_is_refused_while_a_late_effect_may_come(engine):
    run = parked(engine, witnessed=False)
    with pytest.raises(MoveRefused, match="quarantine"):
        engine.resolve(run.id, happened=False, **WHY)
    end_quarantine(engine, run.id)
    engine.resolve(run.id, happened=False, **WHY)


@pytest.mark.parametrize(
    ("happened", "effects"),
    [(True, ["undo 1 completed last=None", "undo 0 completed last=None"]), (False, ["undo 0 completed last=None"])],
)
def test_a_cancel_that_came_meanwhile_acts_when_the_doubt_is_resolved(engine, happened, effects):
    run = parked(engine)
    assert engine.cancel(run.id) == "requested"
    assert engine.get(run.id).status is RunStatus.RUNNING
    engine.resolve(run.id, happened=happened, outputs={}, **WHY)
    ended = engine.run(run.id)
    assert (ended.status, ended.error_class) == (RunStatus.ROLLED_BACK, "cancelled"), timeline(engine, run.id)
    assert effects == steps.EFFECTS


def test_a_last_step_that_happened_does_not_complete_a_cancelled_saga(engine):
    run = parked(engine, after=())
    engine.cancel(run.id)
    engine.resolve(run.id, happened=True, outputs={}, **WHY)
    assert engine.run(run.id).status is RunStatus.ROLLED_BACK
    assert steps.EFFECTS[0] == "undo 1 completed last=None"


def test_a_doubted_step_that_is_retried_is_begun_again_and_stays_in_doubt(engine):
    run = parked(engine)

    def declines(_state):
        raise steps.StepFailed("declined")

    steps.AsksNobody.hook = declines
    engine.retry(run.id, **WHY)
    assert engine.run(run.id).status is RunStatus.ROLLED_BACK
    assert (row(engine, run).attempts, row(engine, run).in_doubt) == (2, 1)
    assert steps.EFFECTS == ["undo 1 unknown last=None", "undo 0 completed last=None"]


def test_to_retry_a_step_with_a_probe_is_to_ask_it_again(engine):
    steps.Probes.answer = lambda _state: Probed.unknown()
    run = parked(engine, "Probes")
    steps.Probes.answer = Probed.completed
    engine.retry(run.id, **WHY)
    assert engine.run(run.id).status is RunStatus.COMPLETED
    assert row(engine, run).attempts == 1


def test_a_doubted_step_that_is_skipped_is_not_undone_and_what_came_before_is(engine):
    run = parked(engine)
    engine.skip(run.id, **WHY)
    assert engine.run(run.id).status is RunStatus.ROLLED_BACK, timeline(engine, run.id)
    assert statuses(engine, run) == ["compensated", "skipped"]
    assert steps.EFFECTS == ["undo 0 completed last=None"]


def test_a_first_step_in_doubt_that_is_skipped_ends_the_saga(engine):
    run = parked(engine, before=())
    assert engine.skip(run.id, **WHY).status is RunStatus.ROLLED_BACK


# -- a halted undo -------------------------------------------------------------------------------------------------------


def test_a_halted_undo_that_is_retried_has_all_its_tries_again_and_the_walk_goes_on(engine):
    run = halted(engine, "Works", "UndoFailsUntilRepaired")
    assert run.waiting_for == "operator"
    engine.retry(run.id, **WHY)
    again = engine.run(run.id)
    assert again.waiting_for == "operator", "it is still broken"
    assert engine.list_step_results(run.id)[1].compensation_attempts == 2
    steps.UndoFailsUntilRepaired.is_broken = False
    engine.retry(run.id, **WHY)
    ended = engine.run(run.id)
    assert ended.status is RunStatus.ROLLED_BACK, timeline(engine, run.id)
    assert "not_undone" not in ended.error


def test_a_halted_undo_that_is_skipped_lets_the_walk_go_on_below_it(engine):
    run = halted(engine, "Works", "UndoFailsUntilRepaired")
    engine.skip(run.id, **WHY)
    ended = engine.run(run.id)
    assert ended.status is RunStatus.ROLLED_BACK, timeline(engine, run.id)
    assert statuses(engine, run) == ["compensated", "skipped", "failed"]
    assert "not_undone" not in ended.error


def test_the_lowest_halted_undo_that_is_skipped_ends_the_saga(engine):
    run = halted(engine, "UndoFailsUntilRepaired")
    assert engine.skip(run.id, **WHY).status is RunStatus.ROLLED_BACK


# -- a failed saga -------------------------------------------------------------------------------------------------------


def test_a_saga_that_failed_over_its_undos_is_taken_up_again_the_highest_first(engine):
    run = halted(
        engine, "UndoFailsUntilRepaired", "Works", "UndoFailsUntilRepaired", on_compensation_failure="continue"
    )
    assert (run.status, len(run.error["not_undone"])) == (RunStatus.FAILED, 2)
    steps.UndoFailsUntilRepaired.is_broken = False
    steps.EFFECTS.clear()
    assert engine.retry(run.id, **WHY).status is RunStatus.COMPENSATING
    ended = engine.run(run.id)
    assert ended.status is RunStatus.ROLLED_BACK, timeline(engine, run.id)
    assert steps.EFFECTS == ["undo 2 completed last=2", "undo 0 completed last=0"]
    assert ended.error == {"reason": "step_failed:Declines", "compensate_from_idx": 2}


def orphaned(engine, name="Works"):
    """A saga that ended failed because its worker was lost and its policy says so."""
    run = engine.start("t", [S + "Works", S + name, "steps.echo"], recovery_policy="fail")
    hold = claimed(engine, run.id)
    advance(hold)
    hold.close()
    assert engine.take_over_dead(engine.owner) == 1
    assert engine.get(run.id).status is RunStatus.FAILED
    return run


def test_a_saga_that_was_given_up_goes_on_from_its_step(engine):
    run = orphaned(engine)
    assert engine.retry(run.id, **WHY).status is RunStatus.RUNNING
    done = engine.run(run.id)
    assert (done.status, done.error) == (RunStatus.COMPLETED, None), timeline(engine, run.id)
    assert steps.EFFECTS == ["execute 1"]


def test_a_saga_that_was_given_up_at_a_step_with_a_probe_asks_it_first(engine):
    steps.Probes.answer = Probed.completed
    run = orphaned(engine, "Probes")
    engine.retry(run.id, **WHY)
    assert engine.run(run.id).status is RunStatus.COMPLETED
    assert steps.EFFECTS == ["probe 1 attempt 1"]


def test_a_saga_that_was_given_up_can_be_undone_instead(engine):
    run = orphaned(engine)
    assert engine.retry(run.id, undo=True, **WHY).status is RunStatus.COMPENSATING
    assert engine.run(run.id).status is RunStatus.ROLLED_BACK, timeline(engine, run.id)
    assert steps.EFFECTS == ["undo 1 unknown last=None", "undo 0 completed last=None"]


@pytest.mark.parametrize("options", [{"undo": True}, {}])
def test_a_saga_that_was_given_up_before_anything_happened_is_rolled_back_at_once_where_it_may_not_go_on(
    engine, options
):
    run = engine.start("t", [S + "Works"], recovery_policy="fail")
    hold = claimed(engine, run.id)
    hold.retry(Retry(delay=0, error={}, doubted=False), park=False, undo_timeout=TIMEOUT)
    if not options:
        engine.cancel(run.id)
    hold.close()
    assert engine.take_over_dead(engine.owner) == 1
    assert engine.retry(run.id, **options, **WHY).status is RunStatus.ROLLED_BACK
    assert engine.run(run.id).error_class == ("orphaned" if options else "cancelled")
    assert statuses(engine, run) == ["failed"]
    assert steps.EFFECTS == []
    assert engine.audit() == []


# -- hold and release ----------------------------------------------------------------------------------------------------


def test_a_pending_saga_on_hold_is_claimed_by_nobody_until_released(engine, rung):
    run = engine.start("t", ["steps.echo"])
    engine.hold(run.id, **WHY)
    assert engine.run(run.id).status is RunStatus.PENDING
    rung.clear()
    assert engine.sweep().rung == 0
    engine.release(run.id, **WHY)
    assert rung == [run.id]
    assert engine.run(run.id).status is RunStatus.COMPLETED


def test_a_hold_during_a_step_lets_it_finish_and_nothing_begin(engine):
    steps.Calls.hook = lambda state: engine.hold(state.saga_id, **WHY)
    run = engine.start("t", [S + "Calls", S + "Works"])
    held = engine.run(run.id)
    assert (held.status, held.waiting_for) == (RunStatus.RUNNING, "hold")
    assert statuses(engine, run) == ["completed", "pending"]
    engine.release(run.id, **WHY)
    assert engine.run(run.id).status is RunStatus.COMPLETED
    assert row(engine, run).attempts == 1


def test_a_hold_that_is_released_before_its_holder_saw_it_changes_nothing(engine):
    def both(state):
        engine.hold(state.saga_id, **WHY)
        engine.release(state.saga_id, **WHY)

    steps.Calls.hook = both
    run = engine.start("t", [S + "Calls", S + "Works"])
    assert engine.run(run.id).status is RunStatus.COMPLETED


def test_a_hold_during_an_undo_stops_below_it(engine):
    class Hook:
        def __init__(self):
            self.done = False

        def __call__(self, _state):
            if not self.done:
                self.done = True
                engine.hold(run.id, **WHY)

    run = engine.start("t", [S + "Works", S + "UndoCalls", S + "Declines"])
    steps.UndoCalls.hook = Hook()
    held = engine.run(run.id)
    assert (held.status, held.waiting_for) == (RunStatus.COMPENSATING, "hold")
    assert statuses(engine, run) == ["compensating", "compensated", "failed"]
    assert steps.EFFECTS == ["execute 0", "execute 1", "undo 1 completed last=1"], "the lower undo has not begun"
    engine.release(run.id, **WHY)
    assert engine.run(run.id).status is RunStatus.ROLLED_BACK


def test_a_hold_outlives_an_undo_that_halts_and_its_release_leaves_the_saga_to_the_operator(engine, rung):
    def holds_and_fails(state):
        engine.hold(state.saga_id, **WHY)
        raise OSError("refund service is down")

    steps.UndoCalls.hook = holds_and_fails
    run = halted(engine, "Works", "UndoCalls")
    assert run.waiting_for == "hold", timeline(engine, run.id)
    told = engine.explain(run.id)
    assert "Its undo failed for good" in told.text
    assert "release ID".replace("ID", run.id) in " ".join(told.commands)
    assert engine.audit() == []
    for move in (engine.skip, engine.retry):
        with pytest.raises(MoveRefused, match="hold"):
            move(run.id, **WHY)
    rung.clear()
    released = engine.release(run.id, **WHY)
    assert (released.waiting_for, released.wake_at) == ("operator", None)
    assert rung == []
    assert "compensation_failed" in statuses(engine, run)
    assert engine.audit() == []
    engine.skip(run.id, **WHY)
    assert engine.run(run.id).status is RunStatus.ROLLED_BACK
    assert [effect for effect in steps.EFFECTS if effect.startswith("undo")] == ["undo 0 completed last=0"]


def test_a_halted_undo_that_an_older_process_let_run_waits_for_a_person_again(engine):
    run = halted(engine, "Works", "UndoFailsUntilRepaired")
    with psycopg.connect(engine.settings.database_url, autocommit=True) as connection:
        connection.execute("UPDATE saga_runs SET waiting_for = NULL, wake_at = now() WHERE id = %s", (run.id,))
    assert engine.run(run.id).waiting_for == "operator", timeline(engine, run.id)
    assert engine.audit() == []
    engine.skip(run.id, **WHY)
    assert engine.run(run.id).status is RunStatus.ROLLED_BACK


def test_a_cancel_of_a_saga_on_hold_acts_when_it_is_released(engine):
    run = engine.start("t", [S + "Works", S + "Works"])
    hold = claimed(engine, run.id)
    advance(hold, begin_next=False)
    hold.yield_()
    hold.close()
    engine.hold(run.id, **WHY)
    assert engine.cancel(run.id, "changed my mind") == "requested"
    assert engine.get(run.id).waiting_for == "hold"
    engine.release(run.id, **WHY)
    assert engine.run(run.id).status is RunStatus.ROLLED_BACK
    assert steps.EFFECTS == ["undo 0 completed last=None"]


def test_a_saga_that_waits_for_its_retry_can_be_held_and_goes_on_at_its_release(engine):
    run = engine.start("t", [S + "RetriesLater"])
    assert engine.run(run.id).waiting_for == "retry"
    assert engine.hold(run.id, **WHY).waiting_for == "hold"
    with psycopg.connect(engine.settings.database_url, autocommit=True) as connection:
        connection.execute("UPDATE saga_runs SET wake_at = now() WHERE wake_at IS NOT NULL")  # it would be due now
    assert engine.sweep().rung == 0
    assert engine.run(run.id).waiting_for == "hold"
    engine.release(run.id, **WHY)
    assert engine.run(run.id).status is RunStatus.COMPLETED


# -- refused -------------------------------------------------------------------------------------------------------------


def test_a_stale_view_is_refused_and_a_fresh_one_is_not(engine):
    run = parked(engine)
    seen = engine.explain(run.id).seq
    engine.cancel(run.id)
    with pytest.raises(StaleView) as refused:
        engine.resolve(run.id, happened=False, seq=seen, **WHY)
    assert refused.value.current == seen + 1
    assert last(engine, run).type == "saga.cancel_requested"
    engine.resolve(run.id, happened=False, seq=seen + 1, **WHY)


@pytest.mark.parametrize("move", ["release", "retry", "skip", "resolve", "hold"])
def test_a_move_that_does_not_apply_is_refused_and_changes_nothing(engine, move):
    run = engine.start("t", ["steps.echo"])
    engine.run(run.id)
    before = engine.timeline(run.id)
    arguments = {"happened": True, "outputs": {}} if move == "resolve" else {}
    with pytest.raises(MoveRefused, match="it is completed"):
        getattr(engine, move)(run.id, **arguments, **WHY)
    assert engine.timeline(run.id) == before


def test_nobody_moves_what_is_not_there_or_without_a_reason_and_a_name(engine):
    with pytest.raises(SagaNotFound):
        engine.hold("01a1fd35-d08f-76a2-bbff-8449fbb16b79", **WHY)
    run = engine.start("t", ["steps.echo"])
    with pytest.raises(InvalidInput, match="reason must be given"):
        engine.hold(run.id, reason=" ", who="ann")
    for name in WHY:
        for text in ("\ud800", "a\x00b", "x" * 2001):
            with pytest.raises(InvalidInput, match=f"{name} must"):
                engine.hold(run.id, **{**WHY, name: text})
    with pytest.raises(InvalidInput, match="who must be given"):
        engine.hold(run.id, reason="x", who="")
    with pytest.raises(InvalidInput, match="outputs cannot be given"):
        engine.resolve(run.id, happened=False, outputs={"a": 1}, **WHY)


def test_two_operators_at_once_move_it_once(engine):
    for _ in range(10):
        run = halted(engine, "UndoFailsUntilRepaired")
        moves = [engine.skip, engine.retry]
        answers = racing(2, lambda n, moves=moves, run=run: moves[n](run.id, **WHY))
        assert sorted(isinstance(answer, MoveRefused) for answer in answers) == [False, True], answers
        moved = [entry.type for entry in engine.timeline(run.id).journal if entry.type.startswith("operator.")]
        assert len(moved) == 1, timeline(engine, run.id)
        engine.run(run.id)  # what was rung is walked, or the audit would find it overdue


def test_a_move_whose_acknowledgement_is_lost_happens_once(engine, monkeypatch):
    run = engine.start("t", ["steps.echo"])
    sent = requested_module._sent
    calls = []

    def lossy(*arguments, **options):
        status = sent(*arguments, **options)
        calls.append(options)
        if len(calls) == 1:
            raise psycopg.OperationalError("the line broke")
        return status

    monkeypatch.setattr(requested_module, "_sent", lossy)
    assert engine.hold(run.id, **WHY).waiting_for == "hold"
    assert len(calls) == 2
    assert [entry.type for entry in engine.timeline(run.id).journal].count("operator.held") == 1


# -- what a cancel would undo --------------------------------------------------------------------------------------------


def test_what_a_cancel_would_undo_is_told_in_order_and_is_what_it_undoes(engine):
    run = parked(engine, before=(S + "Works", S + "Works"))
    told = [one.step_idx for one in engine.undo_list(run.id)]
    assert told == [2, 1, 0]
    engine.cancel(run.id)
    engine.resolve(run.id, happened=True, outputs={}, **WHY)
    engine.run(run.id)
    assert [int(effect.split()[1]) for effect in steps.EFFECTS if effect.startswith("undo")] == told
    assert engine.undo_list(run.id) == []
    assert [one.status for one in engine.list_step_results(run.id)] == [StepStatus.COMPENSATED] * 3
