"""Every place a saga can be in is explained: what it says for each status, what it waits for, and its row."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from sagaworker.domain.explain import explain, undo_list
from sagaworker.domain.records import Episode, JournalEntry, SagaRun, StepResult, Timeline
from sagaworker.domain.status import RunStatus, StepStatus, WaitingFor

NOW = datetime(2031, 5, 4, 12, 0, tzinfo=UTC)
SOON = NOW + timedelta(minutes=5)
AGO = NOW - timedelta(minutes=5)
R, S, W = RunStatus, StepStatus, WaitingFor


def place(status, waiting_for=None, row_status=None, *, holder=None, **changes):
    """A saga of three steps at its second."""
    row_changes = changes.pop("row", {})
    journal = changes.pop("journal", ())
    run = SagaRun(
        id="01a1fd35-d08f-76a2-bbff-8449fbb16b79",
        kind="pay",
        key="42",
        status=status,
        waiting_for=waiting_for,
        wake_at=SOON,
        step_modules=("shop.reserve", "shop.charge", "shop.ship"),
        current_step_idx=1,
        completed_at=NOW if status.is_terminal else None,
        **changes,
    )
    first = StepResult(saga_id=run.id, step_idx=0, step_name="reserve", status=S.COMPLETED, completed_at=AGO)
    steps = [first]
    if row_status is not None:
        row = {"attempts": 1, "in_doubt": 1, "started_at": AGO, **row_changes}
        steps.append(StepResult(saga_id=run.id, step_idx=1, step_name="charge", status=row_status, **row))
    episodes = []
    if holder is not None:
        episodes.append(
            Episode(
                saga_id=run.id, fence=1, owner="o", host="vm", pid=7, task_id=None,
                lease_until=holder, lease_cap=None, started_at=AGO,
            )
        )  # fmt: skip
    return Timeline(run=run, steps=tuple(steps), episodes=tuple(episodes), journal=tuple(journal))


def held(by, reason):
    return JournalEntry(
        saga_id="x", seq=9, type="operator.held", step_idx=1, data={"who": by, "reason": reason}, created_at=AGO
    )


def passed_over(**data):
    return JournalEntry(
        saga_id="x", seq=9, type="saga.recovery_skipped", step_idx=1, created_at=AGO,
        data={"reason": "step 'shop.ship' must be there, got none\ndid you mean shop.shop?", **data},
    )  # fmt: skip


TRIED = {"step": "shop.ship", "host": "vm", "pid": 7, "tries": 3, "last_at": NOW.isoformat()}
ERROR = {"kind": "OSError", "message": "bank is away"}
FAILED = {"reason": "step_failed:charge"}

CASES = [
    (place(R.PENDING), ["nothing of it has begun", "waits for a free worker", "rung again at 2031-05-04 12:05"], False),
    (place(R.PENDING, W.HOLD, journal=[held("ann", "audit")]), ["on hold by ann", "(audit)"], True),
    (
        place(R.PENDING, journal=[passed_over(**TRIED)]),
        [
            "No worker could run it: step 'shop.ship' must be there, got none; did you mean shop.shop? That was last",
            "last tried at 2031-05-04 12:00:00 UTC by vm:7, 3 times since 2031-05-04 11:55:00 UTC.",
            "A worker can, where module shop.ship can be imported",
            "rung again at 2031-05-04 12:05",
        ],
        True,
    ),
    (place(R.RUNNING, journal=[passed_over()]), ["last tried at 2031-05-04 11:55:00 UTC.", "is repaired"], True),
    (place(R.RUNNING, W.RETRY, S.PENDING, journal=[passed_over(**TRIED)]), ["Its step failed"], False),
    (place(R.RUNNING, journal=[passed_over(**TRIED), held("ann", "x")]), ["waits for a free worker"], False),
    (place(R.RUNNING, holder=SOON), ["at charge (step 2 of 3)", "is about to begin it"], False),
    (
        place(R.RUNNING, None, S.RUNNING, holder=SOON, row={"deadline_at": SOON}),
        ["Worker vm:7 has held it since 2031-05-04 11:55", "in attempt 1", "stopped"],
        False,
    ),
    (place(R.RUNNING, None, S.RUNNING, holder=SOON), ["finding out whether it happened"], False),
    (place(R.RUNNING, None, S.PENDING, holder=SOON, row={"error": ERROR}), ["waits to begin it after: OSError"], False),
    (place(R.RUNNING, None, S.RUNNING, holder=AGO), ["its lease ran out", "next sweep"], False),
    (place(R.RUNNING, W.HOLD, S.RUNNING, holder=SOON, row={"deadline_at": SOON}), ["the worker lets go"], True),
    (place(R.RUNNING, None, S.RUNNING), ["lost in attempt 1", "waits for a free worker"], False),
    (place(R.RUNNING, None, S.PENDING), ["waits for a free worker"], False),
    (place(R.RUNNING, W.RETRY, S.PENDING, row={"error": ERROR}), ["Its step failed (OSError: bank is away)"], False),
    (place(R.RUNNING, W.QUARANTINE, S.RUNNING), ["a late effect may still come"], False),
    (place(R.RUNNING, W.TIMER, S.WAITING), ["waits until 2031-05-04 12:05"], False),
    (place(R.RUNNING, W.SIGNAL, S.WAITING), ["waits for signal or until"], False),
    (place(R.RUNNING, W.APPROVAL, S.WAITING), ["waits for approval"], False),
    (place(R.RUNNING, W.CHILDREN, S.WAITING), ["waits for children"], False),
    (place(R.RUNNING, W.HOLD, S.RUNNING), ["as its recovery policy says"], True),
    (place(R.RUNNING, W.HOLD, S.PENDING, journal=[held("", "x")]), ["on hold since"], True),
    (
        place(R.RUNNING, W.OPERATOR, S.RUNNING, row={"error": ERROR}),
        ["whether it happened is not known (its probe said: OSError: bank is away)"],
        True,
    ),
    (
        place(R.RUNNING, W.OPERATOR, S.RUNNING, cancel_requested=True, cancel_reason="no"),
        ["A cancel was accepted (no)"],
        True,
    ),
    (place(R.COMPENSATING, None, S.COMPENSATING, holder=SOON, error=FAILED), ["is undoing it"], False),
    (place(R.COMPENSATING, None, S.COMPENSATING, holder=AGO, error=FAILED), ["its lease ran out"], False),
    (place(R.COMPENSATING, W.HOLD, S.COMPENSATING, holder=SOON, error=FAILED), ["the worker lets go"], True),
    (
        place(R.COMPENSATING, None, S.COMPENSATING, error=FAILED, row={"compensation_recoveries": 1}),
        ["because step charge failed", "A worker was lost in its undo"],
        False,
    ),
    (place(R.COMPENSATING, W.RETRY, S.COMPENSATING, error=FAILED), ["Its undo failed (no error given)"], False),
    (place(R.COMPENSATING, W.QUARANTINE, S.COMPENSATING, error=FAILED), ["It goes on at"], False),
    (place(R.COMPENSATING, W.HOLD, S.COMPENSATING, error={"reason": "cancelled"}), ["because it was cancelled"], True),
    (
        place(R.COMPENSATING, W.OPERATOR, S.COMPENSATION_FAILED, error=FAILED, row={"error": ERROR}),
        ["Its undo failed for good: OSError: bank is away", "undo it by hand and skip it"],
        True,
    ),
    (place(R.COMPLETED, None, S.COMPLETED), ["completed all 3 steps", "Nothing will change"], False),
    (place(R.ROLLED_BACK, None, S.COMPENSATED, error={"reason": "timed_out"}), ["its deadline passed"], False),
    (
        place(R.FAILED, None, S.COMPENSATION_FAILED, error=FAILED, row={"error": ERROR}),
        ["Not undone: charge (step 2 of 3)", "step charge failed (OSError: bank is away)"],
        True,
    ),
    (
        place(R.FAILED, None, S.FAILED, error={"reason": "orphaned"}),
        ["its worker was lost", "Nothing was undone"],
        True,
    ),
]


def test_an_orphan_that_no_sweep_can_take_over_needs_a_person_though_no_command_helps():
    found = explain(place(R.RUNNING, None, S.RUNNING, holder=AGO, journal=[passed_over()]), NOW)
    assert "its lease ran out" in found.text
    assert "must be there, got none" in found.text
    assert found.needs_person
    assert found.commands == ()


@pytest.mark.parametrize(("timeline", "says", "needs_person"), CASES)
def test_a_place_is_explained(timeline, says, needs_person):
    found = explain(timeline, NOW)
    assert [phrase for phrase in says if phrase not in found.text] == [], found.text
    assert found.needs_person is needs_person
    assert not found.commands or needs_person
    assert "  " not in found.text
    assert "None" not in found.text


def test_every_status_and_everything_that_is_waited_for_is_in_the_table():
    seen = {(timeline.run.status, timeline.run.waiting_for) for timeline, *_ in CASES}
    assert {status for status, _ in seen} == set(R)
    assert {waiting for _, waiting in seen} == {None, *W}


@pytest.mark.parametrize(
    ("timeline", "idxs"),
    [
        (place(R.PENDING), []),
        (place(R.RUNNING), [0]),
        (place(R.RUNNING, None, S.PENDING, row={"in_doubt": 0}), [0]),
        (place(R.RUNNING, None, S.PENDING), [1, 0]),
        (place(R.RUNNING, None, S.RUNNING), [1, 0]),
        (place(R.COMPENSATING, None, S.COMPENSATING, error=FAILED), [1, 0]),
        (place(R.COMPLETED, None, S.COMPLETED), []),
        (place(R.FAILED, None, S.FAILED), []),
    ],
)
def test_what_a_cancel_would_undo_is_told_from_the_top(timeline, idxs):
    assert [row.step_idx for row in undo_list(timeline)] == idxs
