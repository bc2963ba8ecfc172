"""Recovery at worker start, many beats, and a beat that is dead."""

import logging
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from sagaworker import Engine
from sagaworker.domain.status import RunStatus
from tests.holding import claimed
from tests.races.test_fences import WAITING
from tests.recovery.abandoned import abandon, another, execute, orphan
from tests.waiting import PATIENCE, wait_until


def test_recover_loads_definitions_takes_over_and_rings(engine, rung):
    with another(engine, rung, step_packages=("steps", "tests.catalog.declared")) as worker:
        run, due = orphan(engine), engine.start("t", ["steps.echo"])
        execute(engine, "UPDATE saga_runs SET wake_at = now() WHERE id = %s", due.id)
        rung.clear()
        result = worker.recover()
    assert (result.definitions, result.mismatched, result.sweep.restarted, result.sweep.rung) == (4, 0, 1, 1)
    assert set(rung) == {run.id, due.id}
    assert len(result.problems) == result.counts["problems"] > 0
    assert result.counts["restarted"] == 1


def test_what_fails_in_one_part_of_recover_does_not_keep_the_next_from_being_done(engine, monkeypatch, caplog):
    run = orphan(engine)
    monkeypatch.setattr(engine.definitions, "load", lambda: 1 / 0)
    with caplog.at_level(logging.ERROR, "sagaworker"):
        result = engine.recover()
    assert result.sweep.restarted == 1
    assert result.problems == ("definitions: ZeroDivisionError: division by zero",)
    assert "recover: definitions failed" in caplog.text
    assert engine.run(run.id).status is RunStatus.COMPLETED


def test_recover_tells_of_a_status_that_is_not_what_the_journal_says_and_changes_nothing(engine, caplog):
    run = engine.start("t", ["steps.echo"])
    execute(engine, "UPDATE saga_runs SET waiting_for = 'operator' WHERE id = %s", run.id)
    assert engine.recover().mismatched == 1
    execute(engine, "UPDATE saga_runs SET waiting_for = NULL, status = 'running' WHERE id = %s", run.id)
    with caplog.at_level(logging.ERROR, "sagaworker"):
        assert engine.recover().mismatched == 1
    assert f"saga {run.id} is running, its journal says pending" in caplog.text
    execute(engine, "UPDATE saga_runs SET status = 'pending' WHERE id = %s", run.id)


def test_ten_ticks_in_a_row_are_one_recovery(engine):
    run = orphan(engine)
    assert [engine.sweep().restarted for _ in range(10)] == [1] + [0] * 9
    assert engine.get(run.id).recoveries == 1


@pytest.fixture
def seen(engine):
    """An orphan that no sweep can take over, so that each that looks for orphans counts it as skipped."""
    run = orphan(engine)
    execute(engine, "UPDATE saga_runs SET recoveries = 2147483647 WHERE id = %s", run.id)
    yield run
    execute(engine, "UPDATE saga_runs SET recoveries = 0 WHERE id = %s", run.id)
    engine.sweep()


def at_once(engine, count, sweep, *, ago):
    """What so many sweeps came to, the last one so many seconds ago, that all wait to note whose turn it is."""
    engine.sweep()
    execute(
        engine, "UPDATE saga_sweeps SET last_at = last_at - make_interval(secs => %s) WHERE name LIKE 'sweep %%'", ago
    )
    url = engine.settings.database_url
    with (
        ThreadPoolExecutor(count) as pool,
        psycopg.connect(url) as stranger,
        psycopg.connect(url, autocommit=True) as watcher,
    ):
        stranger.execute("SELECT FROM saga_sweeps WHERE name LIKE 'sweep %' FOR UPDATE")
        asked = [pool.submit(sweep) for _ in range(count)]
        wait_until(lambda: watcher.execute(WAITING).fetchone() == (count,), what="all wait for their turn")
        stranger.rollback()
        return [one.result(PATIENCE) for one in asked]


def test_of_beats_that_tick_at_once_one_sweeps(engine, seen):
    with another(engine, sweep_interval=60) as slow:
        assert sorted(result.skipped for result in at_once(slow, 5, slow.sweep_tick, ago=31)) == [0, 0, 0, 0, 1]


def test_a_beat_that_ticks_soon_after_another_does_nothing(engine):
    orphan(engine)
    with another(engine, sweep_interval=60) as slow:
        assert slow.sweep_tick().restarted == 1
        abandon(slow, slow.list()[0].id)
        assert slow.sweep_tick().restarted == 0
        execute(slow, "UPDATE saga_sweeps SET last_at = last_at - interval '31 seconds' WHERE name LIKE 'sweep %'")
        assert slow.sweep_tick().restarted == 1


def test_an_orphan_that_another_sweeper_took_first_is_skipped_and_counted(engine, monkeypatch):
    for _ in range(3):
        orphan(engine)
    take_over = engine.ledger.take_over
    with another(engine) as faster:

        def late(*arguments, **options):
            assert faster.sweep().restarted == 3
            monkeypatch.setattr(engine.ledger, "take_over", take_over)
            return take_over(*arguments, **options)

        monkeypatch.setattr(engine.ledger, "take_over", late)
        result = engine.sweep()
    assert (result.restarted, result.skipped) == (0, 3)
    assert {run.recoveries for run in engine.list()} == {1}


def test_sweepers_that_meet_take_each_orphan_once(engine):
    runs = [orphan(engine) for _ in range(20)]
    engines = [Engine(engine.settings) for _ in range(4)]
    try:
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(lambda one: one.sweep(), engines))
    finally:
        for one in engines:
            one.close()
    assert sum(result.restarted for result in results) == len(runs)
    assert {run.recoveries for run in engine.list()} == {1}


def test_a_worker_sweeps_when_none_began_for_a_tick_and_a_half_and_not_before(engine):
    with another(engine, sweep_interval=60) as worker:
        worker.sweep()
        orphan(worker)
        assert worker.sweep_if_overdue() is None
        execute(worker, "UPDATE saga_sweeps SET last_at = last_at - interval '80 seconds' WHERE name LIKE 'sweep %'")
        assert worker.sweep_if_overdue() is None
        execute(worker, "UPDATE saga_sweeps SET last_at = last_at - interval '11 seconds' WHERE name LIKE 'sweep %'")
        result = worker.sweep_if_overdue()
        assert result is not None
        assert result.restarted == 1
        assert worker.sweep_if_overdue() is None


def test_of_all_children_that_notice_a_dead_beat_one_sweeps(engine, seen):
    with another(engine, sweep_interval=60) as worker:
        results = at_once(worker, 8, worker.sweep_if_overdue, ago=181)
    assert sum(result.skipped for result in results) == 1


@pytest.mark.parametrize("recoveries", [0, 2])
def test_a_step_that_kills_its_worker_every_time_is_undone_above_the_ceiling(engine, recoveries):
    run = engine.start("t", ["tests.episodes.steps:Works"], max_recoveries=recoveries)
    for count in range(recoveries + 1):
        hold = claimed(engine, run.id)
        assert hold.position.row.recoveries == count
        if count:
            hold.begin(engine.settings.step_timeout)
        hold.close()
        assert engine.take_over_dead(engine.owner) == 1
    done = engine.run(run.id)
    assert (done.status, done.error_class) == (RunStatus.ROLLED_BACK, "recoveries_exhausted")
    assert engine.list_step_results(run.id)[0].recoveries == recoveries + 1


def test_sweeps_and_episodes_are_counted_for_prometheus(engine):
    prometheus = pytest.importorskip("prometheus_client")

    def value(name, **labels):
        return prometheus.REGISTRY.get_sample_value(name, labels) or 0

    before = value("sagaworker_takeovers_total", policy="restart", learned_by="lease")
    ended = value("sagaworker_episodes_total", outcome="completed")
    run = orphan(engine)
    engine.sweep()
    engine.run(run.id)
    assert value("sagaworker_takeovers_total", policy="restart", learned_by="lease") == before + 1
    assert value("sagaworker_episodes_total", outcome="completed") == ended + 1
