"""A move whose request has an id is done once, however often it is sent and whatever happened in between."""

import pytest

from sagaworker.domain.status import StepStatus
from sagaworker.episodes import HostPlace
from sagaworker.ledger.operators import Order
from tests.holding import claimed
from tests.races.test_fences import in_line

S = "tests.episodes.steps:"
WHO = {"who": "ann", "reason": "asked the bank"}


def halted(engine):
    """Two undos that fail, each of which halts the saga."""
    run = engine.start("pay", [S + "UndoFails", S + "UndoFails", "steps.fail"], on_compensation_failure="halt")
    engine.run(run.id)
    return run


def moved(engine, run_id):
    return [entry.type for entry in engine.timeline(run_id).journal if entry.type.startswith("operator.")]


def test_a_skip_that_is_sent_again_after_the_saga_went_on_skips_nothing_more(engine):
    run = halted(engine)
    assert engine.get(run.id).current_step_idx == 1
    engine.skip(run.id, **WHO, request="r1")
    engine.run(run.id)
    assert engine.get(run.id).current_step_idx == 0
    again = engine.skip(run.id, **WHO, request="r1")
    assert again.current_step_idx == 0
    assert moved(engine, run.id) == ["operator.skipped"]
    rows = engine.list_step_results(run.id)
    assert rows[0].status is not StepStatus.SKIPPED


def test_a_resolve_that_is_sent_again_says_nothing_of_the_next_step(engine):
    run = engine.start("pay", [S + "AsksNobody", S + "AsksNobody"], recovery_policy="restart")
    for idx in range(2):
        claimed(engine, run.id).close()
        engine.take_over_dead(engine.owner)
        engine.run_episode(run.id, place=HostPlace())
        if idx == 0:
            engine.resolve(run.id, happened=True, outputs={"receipt": "of step 0"}, **WHO, request="r1")
    engine.resolve(run.id, happened=True, outputs={"receipt": "of step 0"}, **WHO, request="r1")
    assert moved(engine, run.id) == ["operator.resolved"]
    assert engine.get(run.id).waiting_for == "operator"
    assert engine.list_step_results(run.id)[1].output is None


@pytest.mark.parametrize("move", ["hold", "release"])
def test_a_hold_or_release_that_is_sent_again_changes_nothing_that_came_after(engine, move):
    run = engine.start("pay", ["steps.echo"])
    engine.hold(run.id, **WHO, request="h1")
    if move == "hold":
        engine.release(run.id, **WHO)
        assert engine.hold(run.id, **WHO, request="h1").waiting_for is None
    else:
        engine.release(run.id, **WHO, request="r1")
        engine.hold(run.id, **WHO)
        assert engine.release(run.id, **WHO, request="r1").waiting_for == "hold"


def test_a_cancel_that_is_sent_again_is_one_request_and_has_the_same_answer(engine):
    run = engine.start("pay", ["steps.echo"] * 2)
    hold = claimed(engine, run.id)
    assert engine.cancel(run.id, "no longer wanted", "ann", request="c1") == "requested"
    assert engine.cancel(run.id, "no longer wanted", "ann", request="c1") == "requested"
    assert [e.type for e in engine.timeline(run.id).journal].count("saga.cancel_requested") == 1
    hold.close()


def test_two_requests_are_two(engine):
    run = halted(engine)
    engine.skip(run.id, **WHO, request="r1")
    engine.run(run.id)
    engine.skip(run.id, **WHO, request="r2")
    assert moved(engine, run.id) == ["operator.skipped"] * 2


def test_of_two_copies_of_one_request_at_once_one_lands(engine):
    """As Redis may deliver them: both are on their way before either has moved."""
    run = halted(engine)
    order = Order(saga_id=run.id, who="ann", reason="asked", request="r1")
    assert not engine.operating.has_landed(order)
    copies = [(f"copy {n}", lambda: engine.operating.skip_undo(order)) for n in range(2)]
    assert None not in in_line(engine, run.id, copies).values()
    assert moved(engine, run.id) == ["operator.skipped"]
