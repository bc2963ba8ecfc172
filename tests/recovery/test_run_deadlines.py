"""The deadline of a run comes whatever the saga waits for."""

from __future__ import annotations

from sagaworker.domain.status import RunStatus
from tests.episodes import steps
from tests.recovery.abandoned import execute
from tests.showing import timeline

S = "tests.episodes.steps:"


def parked(engine, **options):
    """A saga whose step failed and is tried again in a minute."""
    steps.EFFECTS.clear()
    run = engine.run(engine.start("t", [S + "Works", S + "RetriesLater"], **options).id)
    assert run.waiting_for == "retry"
    return run


def passes(engine, seconds):
    """Let so much time pass, for the saga that waits."""
    execute(
        engine,
        "UPDATE saga_runs AS r SET wake_at = r.wake_at - p.passed, deadline_at = r.deadline_at - p.passed"
        " FROM make_interval(secs => %s) AS p (passed)",
        seconds,
    )


def test_a_saga_that_waits_for_a_retry_is_woken_by_the_deadline_of_its_run(engine, rung):
    run = parked(engine, deadline=30)
    rung.clear()
    passes(engine, 31)
    engine.sweep()
    assert rung == [run.id], timeline(engine, run.id)
    done = engine.run(run.id)
    assert (done.status, done.error_class) == (RunStatus.ROLLED_BACK, "timed_out"), timeline(engine, run.id)
    assert steps.EFFECTS == ["execute 0", "undo 1 unknown last=0", "undo 0 completed last=0"]


def test_a_retry_that_is_due_before_the_deadline_of_the_run_does_not_wait_for_it(engine, rung):
    run = parked(engine, deadline=3600)
    rung.clear()
    passes(engine, 61)
    engine.sweep()
    assert rung == [run.id], timeline(engine, run.id)
    assert engine.run(run.id).status is RunStatus.COMPLETED, timeline(engine, run.id)
