"""The walk is pure, so its rules are checked over every position, not over examples alone."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagaworker.domain import walk
from sagaworker.domain.retry import RetryPolicy
from sagaworker.domain.status import ErrorClass, RunStatus, StepStatus
from sagaworker.domain.walk import CompensateWhen, InDoubt, Position, Row, StepPolicy

counts = st.integers(min_value=0, max_value=6)


@st.composite
def rows(draw, status):
    attempts = draw(counts)
    if status is StepStatus.RUNNING:
        attempts += 1
    return Row(
        status=status,
        attempts=attempts,
        failed_attempts=draw(st.integers(min_value=0, max_value=max(attempts - 1, 0))),
        in_doubt=draw(st.integers(min_value=0, max_value=attempts)),
        recoveries=draw(counts),
        compensation_attempts=draw(counts),
        compensation_recoveries=draw(counts),
        has_completed=status is StepStatus.COMPENSATING and draw(st.booleans()),
        begun_here=status is StepStatus.RUNNING and draw(st.booleans()),
        quarantine=draw(st.sampled_from([0.0, 3.5])),
    )


@st.composite
def positions(draw):
    status = draw(st.sampled_from([RunStatus.RUNNING, RunStatus.COMPENSATING]))
    row_status = (
        StepStatus.COMPENSATING
        if status is RunStatus.COMPENSATING
        else draw(st.sampled_from([StepStatus.PENDING, StepStatus.RUNNING]))
    )
    return Position(
        status=status,
        idx=draw(counts),
        row=draw(rows(row_status)),
        max_recoveries=draw(st.integers(min_value=0, max_value=3)),
        cancel_requested=draw(st.booleans()),
        deadline_passed=draw(st.booleans()),
        on_hold=draw(st.booleans()),
    )


policies = st.builds(
    StepPolicy,
    name=st.just("charge"),
    in_doubt=st.sampled_from(InDoubt),
    compensate_when=st.sampled_from(CompensateWhen),
    tombstone=st.booleans(),
    retry=st.builds(RetryPolicy, max_attempts=st.integers(min_value=1, max_value=5)),
)


@given(positions(), policies)
def test_a_worker_that_must_stop_or_holds_a_saga_on_hold_lets_go_and_nothing_else(position, policy):
    assert walk.next_move(position, policy, stopping=True) == walk.LetGo()
    if position.on_hold:
        assert walk.next_move(position, policy) == walk.LetGo()


@given(positions(), policies)
def test_user_code_is_entered_only_after_its_attempt_or_undo_is_on_record(position, policy):
    move = walk.next_move(position, policy)
    if isinstance(move, walk.Execute):
        assert position.status is RunStatus.RUNNING
        assert position.row.begun_here
    if isinstance(move, walk.Compensate):
        assert position.row.status is StepStatus.COMPENSATING


@given(positions(), policies)
def test_a_step_that_may_have_happened_is_never_left_out_of_the_undo(position, policy):
    move = walk.next_move(position, policy)
    may_have_happened = position.row.in_doubt > 0 or (
        position.row.status is StepStatus.RUNNING and not position.row.begun_here
    )
    if isinstance(move, walk.Fail) and may_have_happened:
        assert move.undo_self


@given(positions(), policies)
def test_a_cancel_or_deadline_lets_nothing_new_begin(position, policy):
    if position.cancel_requested or position.deadline_passed:
        assert not isinstance(walk.next_move(position, policy), walk.Begin | walk.Probe | walk.AskOperator)


@given(positions(), policies)
def test_the_ceiling_of_recoveries_comes_before_cancel_and_doubt(position, policy):
    row = position.row
    is_left_running = row.status is StepStatus.RUNNING and not row.begun_here
    move = walk.next_move(position, policy)
    if is_left_running and row.recoveries > position.max_recoveries and not position.on_hold:
        assert isinstance(move, walk.Fail)
        assert move.error_class is ErrorClass.RECOVERIES_EXHAUSTED


@given(positions(), policies)
def test_undoing_looks_at_neither_cancel_nor_deadline(position, policy):
    if position.status is not RunStatus.COMPENSATING:
        return
    plain = Position(
        status=position.status,
        idx=position.idx,
        row=position.row,
        max_recoveries=position.max_recoveries,
        on_hold=position.on_hold,
    )
    assert walk.next_move(position, policy) == walk.next_move(plain, policy)


@given(positions(), policies)
def test_an_undo_waits_for_its_quarantine_unless_the_step_leaves_tombstones(position, policy):
    move = walk.next_move(position, policy)
    if isinstance(move, walk.Compensate):
        assert position.row.quarantine == 0 or policy.tombstone


@given(rows(StepStatus.RUNNING), policies, st.booleans(), st.booleans(), st.floats(0, 1, exclude_max=True))
def test_a_failed_attempt_is_retried_within_its_policy_or_ends_the_way_forward(row, policy, definite, retryable, draw):
    failed = walk.Failed(error={"kind": "X"}, definite=definite, retryable=retryable)
    decided = walk.after_execute(row, failed, policy, draw=draw)
    if isinstance(decided, walk.Retry):
        assert retryable
        assert row.failed_attempts + 1 < policy.retry.max_attempts
        assert decided.doubted is not definite
        assert decided.delay >= 0
    else:
        assert decided.undo_self is (not definite or row.in_doubt > 0)


def test_doubt_is_sticky_a_later_definite_failure_still_undoes_the_step():
    row = Row(status=StepStatus.RUNNING, attempts=2, in_doubt=1, begun_here=True)
    failed = walk.Failed(error={}, definite=True, retryable=False)
    decided = walk.after_execute(row, failed, StepPolicy(name="charge"), draw=0.0)
    assert isinstance(decided, walk.Fail)
    assert decided.undo_self


def test_an_undo_is_tried_five_times_by_default_and_then_recorded_as_failed():
    policy = StepPolicy(name="charge")
    failed = walk.Failed(error={"kind": "X"}, definite=False, retryable=True)
    decisions = [
        walk.after_undo(Row(status=StepStatus.COMPENSATING, compensation_attempts=done), failed, policy, draw=0.0)
        for done in range(5)
    ]
    assert [type(d) for d in decisions] == [walk.Retry] * 4 + [walk.RecordUndo]
    assert decisions[-1].result is StepStatus.COMPENSATION_FAILED


def test_a_doubted_step_that_opted_out_of_its_undo_is_skipped_and_a_completed_one_is_not():
    policy = StepPolicy(name="mail", compensate_when=CompensateWhen.COMPLETED)
    doubted = Position(status=RunStatus.COMPENSATING, idx=0, row=Row(status=StepStatus.COMPENSATING))
    completed = Position(
        status=RunStatus.COMPENSATING, idx=0, row=Row(status=StepStatus.COMPENSATING, has_completed=True)
    )
    assert walk.next_move(doubted, policy) == walk.RecordUndo(result=StepStatus.SKIPPED)
    assert walk.next_move(completed, policy) == walk.Compensate()


@pytest.mark.parametrize(
    ("attempts", "recoveries", "in_doubt"), [(1, 0, 0), (2, 1, 1), (2, 2, 1), (5, 4, 0), (5, 4, 4)]
)
def test_deaths_neither_use_up_tries_nor_grant_any(attempts, recoveries, in_doubt):
    """Found by the model: recoveries 2, of which one met an attempt, and RETRY allows one try."""
    row = walk.Row(status=StepStatus.RUNNING, attempts=attempts, in_doubt=in_doubt, recoveries=recoveries)
    raised = walk.Failed(error={}, definite=False, retryable=True)
    once, twice = (walk.StepPolicy(name="s", retry=RetryPolicy(max_attempts=most)) for most in (1, 2))
    assert isinstance(walk.after_execute(row, raised, once, draw=0.0), walk.Fail)
    assert isinstance(walk.after_execute(row, raised, twice, draw=0.0), walk.Retry)
    failed_before = replace(row, failed_attempts=1)
    assert isinstance(walk.after_execute(failed_before, raised, twice, draw=0.0), walk.Fail)


@pytest.mark.parametrize("failed_attempts", [0, 1])
def test_a_transaction_that_is_lost_uses_up_no_try_and_is_not_lost_for_ever(failed_attempts):
    policy = walk.StepPolicy(name="s", retry=RetryPolicy(max_attempts=2), transactional=True)
    lost = walk.Failed(error={}, definite=True, retryable=True)
    decisions = [
        walk.after_lost(
            Row(status=StepStatus.RUNNING, attempts=failed_attempts + n, failed_attempts=failed_attempts),
            lost,
            policy,
            draw=0.0,
        )
        for n in range(1, 5)
    ]
    assert [decided for decided in decisions[:3] if not isinstance(decided, walk.Retry) or decided.counts] == []
    assert isinstance(decisions[3], walk.Fail if failed_attempts else walk.Retry)
    assert failed_attempts or decisions[3].counts
