"""What is listed as stale, and who may claim one of them for recovery."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from sagaworker import Engine, Fenced, InvalidInput, SagaNotFound
from tests.holding import advance, claimed, expire
from tests.recovery.abandoned import abandon, execute, orphan


def ids(runs):
    return [run.id for run in runs]


def aged(engine, saga_id, seconds):
    execute(
        engine,
        "UPDATE saga_runs SET inserted_at = now() - %s * interval '1 second', wake_at = now() - %s * interval '1 second'"
        " WHERE id = %s",
        seconds + 1,
        seconds,
        saga_id,
    )


def test_a_run_without_steps_on_record_and_an_old_start_is_listed(engine):
    run = engine.start("t", ["steps.echo"])
    aged(engine, run.id, 3600)
    assert ids(engine.list_stale_running(stale_after=600)) == [run.id]
    assert engine.sweep(stale_after=600).rung == 1


def test_a_fresh_run_is_not_listed(engine):
    run = engine.start("t", ["steps.echo"])
    held = claimed(engine, engine.start("t", ["steps.echo"]).id)
    assert engine.list_stale_running() == []
    aged(engine, run.id, 60)
    assert engine.list_stale_running(stale_after=timedelta(minutes=10)) == []
    assert engine.sweep(stale_after=600).rung == 0
    held.yield_()
    held.close()
    engine.sweep()


def test_an_old_episode_is_listed_and_so_is_an_old_due_run_among_younger_ones(engine):
    old = orphan(engine)
    execute(engine, "UPDATE saga_episodes SET lease_until = now() - interval '1 hour'")
    young = orphan(engine)
    assert ids(engine.list_stale_running(stale_after=600)) == [old.id]
    assert set(ids(engine.list_stale_running())) == {old.id, young.id}
    assert engine.sweep(stale_after=600).restarted == 1
    assert engine.sweep().restarted == 1


def test_a_long_step_with_a_living_heartbeat_is_not_stale(engine):
    held = claimed(engine, engine.start("t", ["steps.echo"]).id)
    execute(engine, "UPDATE saga_episodes SET started_at = now() - interval '1 day'")
    expire(engine, held.saga_id)
    assert ids(engine.list_stale_running()) == [held.saga_id]
    with engine.database.checkout() as connection:
        engine.ledger.extend([(held.saga_id, held.fence)], connection)
    assert engine.list_stale_running() == []
    assert engine.sweep().restarted == 0
    execute(engine, "UPDATE saga_episodes SET started_at = now()")
    held.yield_()
    held.close()


@pytest.mark.parametrize("end", ["run", "cancel"])
def test_a_run_that_is_not_running_is_never_listed(engine, end):
    run = engine.start("t", ["steps.echo"])
    getattr(engine, end)(run.id)
    execute(engine, "UPDATE saga_runs SET inserted_at = now() - interval '1 hour'")
    assert engine.list_stale_running() == []


@pytest.mark.parametrize("policy", ["hold", "fail"])
def test_a_run_that_waits_for_a_person_or_failed_is_never_listed(engine, policy):
    orphan(engine, recovery_policy=policy)
    assert len(engine.list_stale_running()) == 1
    engine.sweep()
    execute(engine, "UPDATE saga_episodes SET lease_until = now() - interval '1 hour'")
    assert engine.list_stale_running() == []


@pytest.mark.parametrize(
    "value", [-1, timedelta(seconds=-3600), float("nan"), float("inf"), timedelta.max, 1e300, None, "soon"]
)
def test_a_duration_that_is_none_is_refused_and_a_living_holder_keeps_its_saga(engine, value):
    held = claimed(engine, engine.start("t", ["steps.echo"], recovery_policy="fail").id)
    for look in (engine.sweep, engine.list_stale_running):
        with pytest.raises(InvalidInput, match="stale_after must be a timedelta or seconds, from 0"):
            look(stale_after=value)
    advance(held, last=True)
    held.close()
    assert engine.sweep(stale_after=timedelta(days=36_525)).failed == 0


def test_an_archived_run_is_never_listed_swept_or_rung(engine):
    held, due = orphan(engine), engine.start("t", ["steps.echo"])
    aged(engine, due.id, 3600)
    execute(engine, "UPDATE saga_runs SET archived_at = now()")
    assert engine.list_stale_running() == []
    result = engine.sweep()
    assert (result.restarted, result.skipped, result.rung) == (0, 0, 0)
    execute(engine, "UPDATE saga_runs SET archived_at = NULL")
    assert set(ids(engine.list_stale_running())) == {held.id, due.id}
    assert engine.sweep().restarted == 1


def test_the_list_is_scoped_like_the_sweep(engine):
    runs = {(s, e): orphan(engine, source_stack=s, source_env=e).id for s in ("a", "b", None) for e in ("prod", None)}
    assert set(ids(engine.list_stale_running(source_stack="a"))) == {runs["a", None], runs[None, None]}
    assert set(ids(engine.list_stale_running(source_stack=None, source_env="prod"))) == {
        runs["a", "prod"],
        runs["b", "prod"],
        runs[None, "prod"],
    }
    engine.sweep()
    engine.sweep(source_env="prod")


def test_sixteen_racers_for_one_orphan_have_one_winner(engine, database_url):
    run = orphan(engine)
    barrier = threading.Barrier(16, timeout=60)
    engines = [Engine(engine.settings) for _ in range(16)]

    def race(one):
        barrier.wait()
        return one.claim_for_recovery(run.id)

    try:
        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(race, engines))
    finally:
        for one in engines:
            one.close()
    assert sorted(answers) == ["already_claimed"] * 15 + ["ok"]
    assert engine.get(run.id).recoveries == 1


def test_an_expired_hold_is_claimed_with_a_higher_fence_and_its_late_holder_is_refused(engine):
    run = engine.start("t", ["steps.echo"])
    late = claimed(engine, run.id)
    assert engine.claim_for_recovery(run.id) == "already_claimed"
    expire(engine, run.id)
    assert engine.claim_for_recovery(run.id) == "ok"
    assert engine.get(run.id).fence > late.fence
    with pytest.raises(Fenced):
        advance(late, last=True)
    assert engine.run(run.id).status == "completed"


def test_recoveries_count_on_across_claims(engine, rung):
    run = orphan(engine)
    for count in (1, 2, 3):
        rung.clear()
        assert engine.claim_for_recovery(run.id) == "ok"
        assert rung == [run.id]
        assert engine.get(run.id).recoveries == count
        abandon(engine, run.id)
    engine.sweep()


def test_a_run_that_nobody_holds_is_claimed_once_when_it_is_due(engine, rung):
    run = engine.start("t", ["steps.echo"], source_stack="a", source_env="prod")
    assert engine.claim_for_recovery(run.id) == "already_claimed"
    aged(engine, run.id, 1)
    rung.clear()
    assert [engine.claim_for_recovery(run.id) for _ in range(2)] == ["ok", "already_claimed"]
    assert rung == [run.id]


def test_a_run_that_is_not_running_is_already_claimed(engine):
    done, held = engine.start("t", ["steps.echo"]), engine.start("t", ["steps.echo"])
    engine.run(done.id)
    hold = claimed(engine, held.id)
    assert engine.claim_for_recovery(done.id) == "already_claimed"
    assert engine.claim_for_recovery(held.id) == "already_claimed"
    with pytest.raises(SagaNotFound):
        engine.claim_for_recovery("00000000-0000-4000-8000-000000000001")
    hold.yield_()
    hold.close()
