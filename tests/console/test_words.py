"""Sentences and figures."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from sagaworker.console import words
from sagaworker.console.spans import spans
from sagaworker.domain.records import JournalEntry, SagaRun, StepResult
from sagaworker.domain.status import RunStatus, StepStatus, WaitingFor

NOON = datetime(2031, 5, 4, 12, tzinfo=UTC)


def run(**fields) -> SagaRun:
    return SagaRun(**{"id": "0190", "kind": "checkout", "key": "42", "status": RunStatus.ROLLED_BACK, **fields})


def step(idx: int, status: StepStatus, **fields) -> StepResult:
    return StepResult(saga_id="0190", step_idx=idx, step_name=f"s{idx}", status=status, **fields)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"), (-1, "0 ms"), (0.0124, "12 ms"), (0.9994, "999 ms"), (0.9996, "1.0 s"), (9.94, "9.9 s"),
        (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (185, "3 min 5 s"), (7440, "2 h 4 min"), (90_000, "1 d 1 h"),
    ],
)  # fmt: skip
def test_a_duration_has_two_figures_at_most(seconds: float, text: str) -> None:
    assert words.duration(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-3, "0 s ago"), (8, "8 s ago"), (185, "3 min ago"), (90_000, "1 d ago")]
)
def test_ago_has_one_figure(seconds: float, text: str) -> None:
    assert words.ago(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize(
    ("waiting_for", "wake_at", "text"),
    [
        (None, NOON, ""),
        (WaitingFor.OPERATOR, None, "waits for operator"),
        (WaitingFor.RETRY, NOON + timedelta(seconds=185), "waits for retry, 3 min left"),
        (WaitingFor.QUARANTINE, NOON - timedelta(seconds=3), "waits for quarantine, 0 s left"),
    ],
)
def test_what_is_waited_for_is_short_enough_for_a_list(
    waiting_for: WaitingFor | None, wake_at: datetime | None, text: str
) -> None:
    assert words.waiting_left(run(waiting_for=waiting_for, wake_at=wake_at), NOON) == text


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (None, ""),
        ({"kind": "StepFailed", "message": "card declined\nuse another"}, "card declined"),
        ({"kind": "ValueError", "message": "no"}, "ValueError: no"),
        ({"kind": "ValueError", "message": ""}, "ValueError"),
    ],
)
def test_the_error_of_a_step_is_one_line(error: dict[str, str] | None, text: str) -> None:
    assert words.first_line(error) == text


def test_why_names_the_step_that_failed_and_what_it_said() -> None:
    failed = step(1, StepStatus.FAILED, error={"kind": "StepFailed", "message": "card declined"})
    stopped = run(error={"reason": "step_failed:charge", "compensate_from_idx": 0}, error_class="step_failed")
    assert words.why(stopped, [step(0, StepStatus.COMPENSATED), failed]) == "step charge failed: card declined"
    assert words.ending(stopped, [failed]) == "saga checkout[42] is rolled_back: step charge failed: card declined"


def test_why_tells_the_reason_of_a_cancel_and_what_was_not_undone() -> None:
    assert words.why(run(error={"reason": "cancelled"}, cancel_reason="not wanted")) == "cancelled: not wanted"
    error = {"reason": "timed_out", "not_undone": [{"idx": 1, "name": "charge"}]}
    assert words.why(run(error=error, status=RunStatus.FAILED)) == "its deadline passed; not undone: step 1 charge"
    assert words.why(run(status=RunStatus.COMPLETED)) == ""


@pytest.mark.parametrize(
    ("status", "idx", "done"),
    [
        (RunStatus.PENDING, 0, 0), (RunStatus.RUNNING, 1, 1), (RunStatus.COMPENSATING, 1, 2),
        (RunStatus.COMPLETED, 2, 3), (RunStatus.ROLLED_BACK, 0, 0), (RunStatus.FAILED, 1, 1),
    ],
)  # fmt: skip
def test_progress_counts_what_is_done_and_what_is_left_to_undo(status: RunStatus, idx: int, done: int) -> None:
    steps = ("steps.a", "steps.b:Klass", {"step": "steps.c", "id": "last"})
    at = run(status=status, current_step_idx=idx, step_modules=steps)
    assert words.progress(at) == (done, 3)
    assert words.step_names(at) == ["a", "Klass", "last"]


def entry(seq: int, type: str, idx: int | None, **data) -> JournalEntry:
    at = NOON + timedelta(seconds=seq)
    return JournalEntry(saga_id="0190", seq=seq, type=type, step_idx=idx, data=data, created_at=at)


def test_spans_follow_a_saga_whose_worker_died_and_that_was_undone() -> None:
    journal = [
        entry(1, "saga.started", None, status="pending"),
        entry(2, "saga.claimed", 0, status="running", begun=True),
        entry(3, "step.completed", 0, status="running", begun_next=True),
        entry(4, "saga.taken_over", 1, status="running", outcome="died"),
        entry(5, "saga.claimed", 1, status="running", begun=False),
        entry(6, "step.begun", 1, status="running"),
        entry(7, "step.failed", 1, status="compensating", compensate_from_idx=1),
        entry(8, "undo.retried", 1, status="compensating", waiting_for="retry"),
        entry(9, "saga.claimed", 1, status="compensating", begun=False),
        entry(10, "step.compensated", 1, status="compensating", next_undo_idx=0),
        entry(11, "step.compensated", 0, status="rolled_back", next_undo_idx=None),
    ]
    found = [
        (span.step_idx, span.what, (span.begin - NOON).seconds, span.end and (span.end - NOON).seconds, span.how)
        for span in spans(journal)
    ]
    assert found == [
        (0, "execute", 2, 3, "completed"),
        (1, "execute", 3, 4, "died"),
        (1, "execute", 6, 7, "failed"),
        (1, "undo", 7, 8, "retried"),
        (1, "undo", 9, 10, "compensated"),
        (0, "undo", 10, 11, "compensated"),
    ]


def test_an_attempt_that_goes_on_has_no_end() -> None:
    found = spans([entry(1, "saga.claimed", 0, status="running", begun=True), entry(2, "step.noted", 0)])
    assert [(span.step_idx, span.end) for span in found] == [(0, None)]
