"""Every state a worker can leave behind, under every policy and flag: taken over, the ledger is sound, and it ends."""

import itertools

import psycopg
import pytest

from sagaworker import RetryPolicy
from sagaworker.domain import walk
from sagaworker.domain.status import RunStatus, StepStatus
from sagaworker.engine import Engine
from sagaworker.settings import Settings
from tests.attacks import odd_steps
from tests.holding import TIMEOUT, advance, claimed, expire
from tests.showing import timeline

S = "tests.attacks.odd_steps:"
POLICIES = ["restart", "compensate", "fail", "hold"]
FLAGS = ["", "cancel", "deadline", "hold", "cancel hold"]
ERROR = {"kind": "X", "message": "x"}


def _begun(hold):
    """A step is running."""


def _completed_and_begun(hold):
    advance(hold)


def _pending(hold):
    advance(hold, begin_next=False)


def _never_begun(hold):
    hold.yield_()


def _between_retries(hold):
    advance(hold)
    hold.retry(walk.Retry(delay=0.0, error=ERROR, doubted=True), park=False, undo_timeout=TIMEOUT)


def _between_definite_retries(hold):
    advance(hold)
    hold.retry(walk.Retry(delay=0.0, error=ERROR, doubted=False), park=False, undo_timeout=TIMEOUT)


def _retried(hold):
    _between_retries(hold)
    hold.begin(TIMEOUT)


def _undoing(hold):
    advance(hold)
    advance(hold)
    hold.fail(walk.Fail(reason="x", error_class="step_failed", undo_self=False), undo_timeout=TIMEOUT)


def _undoing_a_doubt(hold):
    advance(hold)
    fail = walk.Fail(reason="x", error_class="step_in_doubt", undo_self=True, doubted=True, error=ERROR)
    hold.fail(fail, undo_timeout=TIMEOUT)


def _undoing_again(hold):
    _undoing(hold)
    hold.retry(walk.Retry(delay=0.0, error=ERROR, doubted=True), park=False, undo_timeout=TIMEOUT)


def _undone_one(hold):
    _undoing(hold)
    hold.compensated(walk.RecordUndo(result=StepStatus.COMPENSATED), attempted=True, undo_timeout=TIMEOUT)


LEFT = {
    state.__name__.removeprefix("_"): state
    for state in (
        _begun, _completed_and_begun, _pending, _never_begun, _between_retries, _between_definite_retries, _retried,
        _undoing, _undoing_a_doubt, _undoing_again, _undone_one,
    )
}  # fmt: skip


@pytest.fixture
def engine(database_url, monkeypatch):
    monkeypatch.setattr(odd_steps.Calls, "TOMBSTONE", True, raising=False)
    monkeypatch.setattr(odd_steps.Calls, "RETRY", RetryPolicy(max_attempts=9, base=0), raising=False)
    settings = Settings.from_env({}, database_url=database_url, step_packages=("tests.attacks",), sweep_interval=30)
    with Engine(settings) as engine:
        yield engine


def sql(engine, statement, *parameters):
    with psycopg.connect(engine.settings.database_url, autocommit=True) as connection:
        connection.execute(statement, parameters)


def left_behind(engine, left, flags, policy):
    """A saga whose worker is gone, in that state, with those flags set just before it went."""
    run = engine.start("t", [S + "Calls"] * 4, recovery_policy=policy)
    hold = claimed(engine, run.id)
    LEFT[left](hold)
    is_open = hold.is_open
    if "cancel" in flags:
        engine.cancel(run.id)
    if "deadline" in flags:
        sql(engine, "UPDATE saga_runs SET deadline_at = now() - interval '1 second' WHERE id = %s", run.id)
    if "hold" in flags:
        sql(
            engine,
            "UPDATE saga_runs SET waiting_for = 'hold', wake_at = NULL WHERE id = %s AND completed_at IS NULL",
            run.id,
        )
    hold.close()
    if is_open:
        expire(engine, run.id)
    return run, is_open


def unexplained(engine):
    # A hold or a deadline that a test sets by SQL has no journal row: invariant 23 says so, rightly.
    return [finding for finding in engine.audit() if not (finding.invariant == 23 and "waiting" in finding.detail)]


@pytest.mark.parametrize("witnessed", [False, True])
@pytest.mark.parametrize("left", LEFT)
def test_whatever_a_worker_leaves_is_taken_over_soundly_and_ends(engine, left, witnessed):
    runs = [
        (*left_behind(engine, left, flags, policy), flags, policy)
        for flags, policy in itertools.product(FLAGS[:2] if witnessed else FLAGS, POLICIES)
    ]
    if witnessed:
        engine.take_over_dead(engine.owner)
    else:
        engine.sweep()
    assert unexplained(engine) == []
    for run, was_open, flags, policy in runs:
        shown = f"{flags} {policy}\n" + timeline(engine, run.id)
        before = engine.get(run.id)
        was_undoing = "undo" in left or "undone" in left
        if was_open and not was_undoing and policy == "fail":
            assert before.status is RunStatus.FAILED, shown
        if was_open and before.waiting_for == "hold":
            assert engine.run(run.id).fence == before.fence, shown
        sql(
            engine,
            "UPDATE saga_runs SET waiting_for = NULL, wake_at = now() WHERE id = %s AND waiting_for IS NOT NULL",
            run.id,
        )
        for _ in range(3):
            engine.run(run.id)
        done = engine.get(run.id)
        shown = f"{flags} {policy}\n" + timeline(engine, run.id)
        assert done.status.is_terminal, shown
        may_complete = not was_undoing and (policy in ("restart", "hold") or not was_open) and flags in ("", "hold")
        if done.status is RunStatus.COMPLETED:
            assert may_complete, shown
        elif may_complete:
            raise AssertionError(shown)
        if "cancel" in flags and done.status is RunStatus.ROLLED_BACK and not was_undoing:
            assert done.error_class == "cancelled", shown
        assert all(e.ended_at is not None for e in engine.timeline(run.id).episodes), shown
    assert unexplained(engine) == []
