"""The sweep: orphans are taken over under their policy, lost doorbells are rung again, nothing else is touched."""

from dataclasses import asdict
from datetime import timedelta

import psycopg
import pytest

from sagaworker.domain import walk
from sagaworker.domain.status import RunStatus, StepStatus
from sagaworker.episodes import HostPlace
from sagaworker.recovery.sweep import BATCH
from tests.episodes import steps
from tests.holding import TIMEOUT, advance, claimed, end_quarantine, expire
from tests.recovery.abandoned import another, execute
from tests.showing import timeline
from tests.waiting import wait_until

S = "tests.episodes.steps:"


def orphan(engine, *, policy="restart", names=("steps.echo", "steps.echo"), advanced=0, **options):
    """A saga whose worker is gone while a step was running."""
    run = engine.start("t", list(names), recovery_policy=policy, **options)
    hold = claimed(engine, run.id)
    for _ in range(advanced):
        advance(hold)
    hold.close()
    expire(engine, run.id)
    return run


def test_restart_resumes_the_same_saga_and_runs_no_completed_step_again(engine, rung):
    run = orphan(engine, advanced=1)
    rung.clear()
    assert engine.sweep().restarted == 1
    assert rung == [run.id]
    done = engine.run(run.id)
    assert done.status is RunStatus.COMPLETED, timeline(engine, run.id)
    first, second = engine.list_step_results(run.id)
    assert (first.attempts, second.attempts, second.in_doubt, second.recoveries) == (1, 2, 1, 1)
    assert [e.outcome for e in engine.timeline(run.id).episodes] == ["orphaned", "completed"]


def test_compensate_undoes_the_doubted_step_too(engine):
    run = orphan(engine, policy="compensate", names=[S + "Works", S + "Works"], advanced=1)
    steps.EFFECTS.clear()
    assert engine.sweep().compensated == 1
    assert engine.get(run.id).status is RunStatus.COMPENSATING
    end_quarantine(engine, run.id)
    assert engine.run(run.id).status is RunStatus.ROLLED_BACK, timeline(engine, run.id)
    assert steps.EFFECTS == ["undo 1 unknown last=None", "undo 0 completed last=None"]
    assert engine.get(run.id).error_class == "orphaned"


def test_fail_ends_the_saga_for_a_person_to_look_at(engine):
    run = orphan(engine, policy="fail")
    assert engine.sweep().failed == 1
    found = engine.get(run.id)
    assert (found.status, found.error_class) == (RunStatus.FAILED, "orphaned")


def test_without_any_policy_the_saga_fails(engine):
    run = orphan(engine, policy=None, actor_id="billing")
    assert engine.sweep().failed == 1
    assert engine.get(run.id).error_class == "orphaned"


def test_hold_waits_for_an_operator(engine):
    run = orphan(engine, policy="hold")
    assert engine.sweep().held == 1
    assert engine.get(run.id).waiting_for == "hold"
    assert engine.run(run.id).status is RunStatus.RUNNING
    assert engine.sweep().rung == 0


def test_a_saga_orphaned_while_undoing_goes_on_undoing_whatever_its_policy(engine):
    run = engine.start("t", [S + "Works", S + "Declines"], recovery_policy="fail")
    hold = claimed(engine, run.id)
    advance(hold)
    hold.fail(walk.Fail(reason="x", error_class="step_failed", undo_self=False), undo_timeout=TIMEOUT)
    hold.close()
    expire(engine, run.id)
    assert engine.sweep().restarted == 1
    assert engine.run(run.id).status is RunStatus.ROLLED_BACK
    assert engine.list_step_results(run.id)[0].compensation_recoveries == 1


def test_a_step_that_loses_its_worker_too_often_is_undone_itself_included(engine):
    run = orphan(engine, names=[S + "Works"], max_recoveries=1)
    engine.sweep()
    hold = claimed(engine, run.id)
    hold.begin(TIMEOUT)
    hold.close()
    expire(engine, run.id)
    engine.sweep()
    end_quarantine(engine, run.id)
    assert engine.run(run.id).status is RunStatus.ROLLED_BACK, timeline(engine, run.id)
    found = engine.get(run.id)
    assert found.error == {"reason": "recoveries_exhausted:Works", "compensate_from_idx": 0}
    assert engine.list_step_results(run.id)[0].status is StepStatus.COMPENSATED


def test_an_undo_that_loses_its_worker_too_often_is_recorded_as_failed_and_the_walk_goes_on(engine):
    run = engine.start("t", [S + "Works", S + "Works", S + "Declines"], max_recoveries=0)
    hold = claimed(engine, run.id)
    advance(hold)
    advance(hold)
    hold.fail(walk.Fail(reason="x", error_class="step_failed", undo_self=False), undo_timeout=TIMEOUT)
    hold.close()
    expire(engine, run.id)
    engine.sweep()
    done = engine.run(run.id)
    assert done.status is RunStatus.FAILED
    assert [str(s.status) for s in engine.list_step_results(run.id)] == ["compensated", "compensation_failed", "failed"]


def test_an_undo_waits_until_the_late_effects_of_a_paused_worker_can_no_longer_come(engine):
    run = orphan(engine, policy="compensate", names=[S + "Works"])
    engine.sweep()
    parked = engine.run(run.id)
    assert parked.waiting_for == "quarantine"
    row = engine.list_step_results(run.id)[0]
    assert abs((parked.wake_at - row.quarantine_until).total_seconds()) < 0.5
    assert row.quarantine_until - row.started_at == TIMEOUT + timedelta(seconds=0.5)


def test_a_witnessed_death_needs_no_quarantine(engine):
    run = engine.start("t", [S + "Works"], recovery_policy="compensate")
    hold = claimed(engine, run.id)
    hold.close()
    assert engine.take_over_dead(engine.owner) == 1
    assert engine.run(run.id).status is RunStatus.ROLLED_BACK
    assert engine.timeline(run.id).episodes[0].outcome == "died"


def test_a_dead_owner_is_taken_over_once_and_others_are_left_alone(engine):
    run, other = engine.start("t", ["steps.echo"]), engine.start("t", ["steps.echo"])
    claimed(engine, run.id).close()
    dead, engine.owner = engine.owner, "00000000-0000-4000-8000-000000000001"
    claimed(engine, other.id).close()
    assert [engine.take_over_dead(dead), engine.take_over_dead(dead)] == [1, 0]
    assert engine.timeline(other.id).episodes[0].ended_at is None
    engine.take_over_dead(engine.owner)


def test_what_was_committed_and_never_rung_is_rung_later_and_later(engine):
    rung = []
    with another(engine, rung, sweep_interval=60.0) as sweeper:
        run = sweeper.start("t", ["steps.echo"])
        rung.clear()
        # Twice the sweep's interval, doubled each time, at most five minutes; a quarter more or less.
        for expected in (120, 240, 300):
            assert sweeper.ring_due() == 0
            before = execute(engine, "UPDATE saga_runs SET wake_at = clock_timestamp() RETURNING wake_at")[0][0]
            assert sweeper.ring_due() == 1
            after = execute(engine, "SELECT clock_timestamp()")[0][0]
            wake_at = engine.get(run.id).wake_at
            assert wake_at - before >= timedelta(seconds=0.75 * expected)
            assert wake_at - after <= timedelta(seconds=1.25 * expected)
    assert rung == [run.id] * 3


def test_a_parked_retry_that_is_due_is_claimed_without_having_been_woken(engine):
    run = engine.start("t", [S + "RetriesLater"])
    assert engine.run(run.id).waiting_for == "retry"
    execute(engine, "UPDATE saga_runs SET wake_at = now()")
    assert engine.run(run.id).status is RunStatus.COMPLETED, timeline(engine, run.id)
    assert "saga.woken" not in [entry.type for entry in engine.timeline(run.id).journal]


def test_a_parked_retry_is_woken_when_it_is_due(engine, rung):
    run = engine.start("t", [S + "RetriesLater"])
    engine.run(run.id)
    assert engine.ring_due() == 0
    execute(engine, "UPDATE saga_runs SET wake_at = now()")
    rung.clear()
    assert engine.ring_due() == 1
    assert engine.get(run.id).waiting_for is None
    assert rung == [run.id]
    assert engine.run(run.id).status is RunStatus.COMPLETED


def test_stale_after_leaves_younger_orphans_alone(engine):
    orphan(engine)
    assert engine.sweep(stale_after=3600).restarted == 0
    assert engine.sweep(stale_after=timedelta(seconds=0.5)).restarted == 1


def test_a_cancelled_orphan_is_undone_by_whoever_claims_it_next(engine):
    run = orphan(engine, names=[S + "Works"])
    assert engine.cancel(run.id) == "requested"
    engine.sweep()
    end_quarantine(engine, run.id)
    assert engine.run(run.id).status is RunStatus.ROLLED_BACK, timeline(engine, run.id)
    assert engine.get(run.id).error_class == "cancelled"


def test_a_cancel_of_an_unowned_saga_turns_it_round_at_once(engine, rung):
    run = engine.start("t", [S + "Works", S + "RetriesLater"])
    engine.run(run.id)
    rung.clear()
    assert engine.cancel(run.id) == "requested"
    assert engine.get(run.id).status is RunStatus.COMPENSATING
    assert rung == [run.id]
    assert engine.run(run.id).status is RunStatus.ROLLED_BACK, timeline(engine, run.id)
    assert [str(s.status) for s in engine.list_step_results(run.id)] == ["compensated", "compensated"]


@pytest.mark.parametrize("advanced", [0, 1])
def test_a_cancel_of_a_saga_between_two_holders_turns_it_round_at_once(engine, advanced):
    run = engine.start("t", [S + "Works", S + "Works"])
    hold = claimed(engine, run.id)
    for _ in range(advanced):
        advance(hold)
    hold.yield_()
    hold.close()
    assert engine.cancel(run.id) == ("requested" if advanced else "cancelled")
    assert engine.run(run.id).status is RunStatus.ROLLED_BACK, timeline(engine, run.id)


def test_a_retry_that_a_cancel_has_ruled_out_is_not_waited_for(engine):
    steps.Calls.hook = lambda state: (engine.cancel(state.saga_id), 1 / 0)
    steps.Calls.RETRY = steps.RetryPolicy(max_attempts=5, base=3600)
    try:
        run = engine.start("t", [S + "Works", S + "Calls"])
        assert engine.run(run.id).status is RunStatus.ROLLED_BACK, timeline(engine, run.id)
    finally:
        del steps.Calls.RETRY


def test_a_yield_takes_back_what_was_begun_and_not_entered_and_counts_nothing(engine):
    run = engine.start("t", ["steps.echo"])
    hold = claimed(engine, run.id)
    hold.yield_()
    hold.close()
    row = engine.list_step_results(run.id)[0]
    assert (row.status, row.attempts, row.in_doubt, row.recoveries) == (StepStatus.PENDING, 0, 0, 0)
    assert engine.get(run.id).recoveries == 0
    assert engine.run(run.id).status is RunStatus.COMPLETED


def test_a_yield_leaves_an_inherited_running_row_running_without_new_doubt(engine):
    run = orphan(engine)
    engine.sweep()
    for _ in range(3):
        hold = claimed(engine, run.id)
        assert hold.position.row.in_doubt == 1
        hold.yield_()
        hold.close()
    row = engine.list_step_results(run.id)[0]
    assert (row.status, row.attempts, row.in_doubt, row.recoveries) == (StepStatus.RUNNING, 1, 1, 1)
    assert engine.run(run.id).status is RunStatus.COMPLETED


def test_a_step_missing_on_this_worker_strands_only_its_own_saga(engine):
    run, other = engine.start("t", ["steps.echo"]), engine.start("t", ["steps.echo"])
    listed = "UPDATE saga_runs SET step_modules = jsonb_build_array(%s::text) WHERE id = %s"
    execute(engine, listed, "steps.gone", run.id)
    end = engine.run_episode(run.id, place=HostPlace())
    assert (end.outcome, end.status) == ("unrunnable", RunStatus.PENDING)
    assert "steps.gone" in end.reason
    assert engine.run(other.id).status is RunStatus.COMPLETED
    execute(engine, listed, "steps.echo", run.id)
    assert engine.run(run.id).status is RunStatus.COMPLETED


def test_a_mass_death_is_taken_over_in_bounded_batches(engine):
    count = 2 * BATCH + 50
    runs = engine.start_many([{"kind": "t", "steps": ["steps.echo"]} for _ in range(count)])
    for run in runs:
        claimed(engine, run.id).close()
    with psycopg.connect(engine.settings.database_url, autocommit=True) as connection:
        connection.execute("UPDATE saga_episodes SET lease_until = now() - interval '1 second'")
    assert engine.sweep().restarted == count
    assert engine.sweep().restarted == 0
    of_each = "SELECT count(*) FROM saga_events WHERE type = 'saga.taken_over' GROUP BY xmin::text ORDER BY 1"
    assert execute(engine, of_each) == [(50,), (BATCH,), (BATCH,)], "takeovers of each transaction"


def test_ten_thousand_parked_sagas_take_no_episode_and_no_look_of_a_sweep(engine, rung):
    run = engine.start("parked", [S + "RetriesLater"])
    assert engine.run(run.id).waiting_for == "retry"
    for table, id in (
        ("saga_runs", "id"),
        *((one, "saga_id") for one in ("saga_step_results", "saga_events", "saga_episodes")),
    ):
        execute(
            engine,
            f"INSERT INTO {table} SELECT c.* FROM {table} AS t, generate_series(1, 10000) AS n, jsonb_populate_record("
            f"NULL::{table}, to_jsonb(t) || jsonb_build_object('{id}', md5(n::text)::uuid)) AS c",
        )
    execute(engine, "ANALYZE")
    rung.clear()
    before = rows_read(engine)
    for _ in range(5):
        assert not any(value for name, value in asdict(engine.sweep()).items() if name != "held_back")
    assert rung == []
    assert rows_read(engine) - before < 100
    assert execute(engine, "SELECT count(*) FROM saga_episodes WHERE ended_at IS NULL") == [(0,)]


def rows_read(engine) -> int:
    """Rows of runs that all statements so far have fetched; a backend tells of its own when it ends."""
    engine.ledger.database.close()
    mine = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    wait_until(lambda: not execute(engine, mine), what="all backends ended")
    read = "SELECT (seq_tup_read + idx_tup_fetch)::integer FROM pg_stat_user_tables WHERE relname = 'saga_runs'"
    return execute(engine, read)[0][0]
