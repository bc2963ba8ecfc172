"""How much one sweep does: bounded by time, the same share of each kind of work, and any number of sweepers together."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest

from sagaworker.domain.recovery import Scope
from sagaworker.engine import Engine
from tests.recovery.abandoned import execute, orphan

S = "tests.episodes.steps:"
SCOPE = Scope(source_stack=None, source_env=None)
NO_TIME = timedelta(0)
TIME_FOR_ALL = timedelta(hours=1)
MANY = 3000
TABLES = {"saga_runs": "id", "saga_step_results": "saga_id", "saga_events": "saga_id", "saga_episodes": "saga_id"}


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr("sagaworker.recovery.sweep.BATCH", 2)


def copied(engine, run, count):
    """The same saga so many times more, as it stands in every table."""
    for table, id in TABLES.items():
        execute(
            engine,
            f"INSERT INTO {table} SELECT c.* FROM {table} AS t, generate_series(1, {count}) AS n, jsonb_populate_record("
            f"NULL::{table}, to_jsonb(t) || jsonb_build_object('{id}', md5(n || '{run.id}')::uuid)) AS c"
            f" WHERE t.{id} = '{run.id}'",
        )


def orphans(engine, count):
    copied(engine, orphan(engine, recovery_policy="restart"), count - 1)


def unheard(engine, count):
    """Sagas that nobody holds and whose doorbell is lost."""
    run = engine.start("unheard", ["steps.echo"])
    execute(engine, "UPDATE saga_runs SET wake_at = now() - interval '1 s' WHERE id = %s", run.id)
    copied(engine, run, count - 1)


def parked(engine, count):
    """Sagas that wait for a retry whose time has come."""
    run = engine.start("parked", [S + "RetriesLater"])
    assert engine.run(run.id).waiting_for == "retry"
    execute(engine, "UPDATE saga_runs SET wake_at = now() - interval '1 s' WHERE id = %s", run.id)
    copied(engine, run, count - 1)


def types(engine):
    return dict(execute(engine, "SELECT type, count(*) FROM saga_events GROUP BY type"))


def test_a_sweep_that_has_time_takes_over_wakes_and_rings_thousands(engine, rung):
    orphans(engine, MANY)
    unheard(engine, MANY)
    parked(engine, MANY)
    rung.clear()
    result = engine.recovery.sweep(SCOPE, budget=TIME_FOR_ALL)
    assert (result.restarted, result.rung, result.skipped) == (MANY, 2 * MANY, 0)
    assert len(rung) == len(set(rung)) == 3 * MANY
    counts = types(engine)
    assert (counts["saga.taken_over"], counts["saga.woken"]) == (MANY, MANY)
    assert engine.sweep().restarted == engine.ring_due() == 0


@pytest.mark.usefixtures("small_batches")
def test_a_sweep_without_time_does_a_batch_of_each_kind_and_the_next_one_goes_on(engine, rung):
    orphans(engine, 5)
    unheard(engine, 5)
    parked(engine, 5)
    rung.clear()
    for count in (2, 2, 1, 0):
        result = engine.recovery.sweep(SCOPE, budget=NO_TIME)
        assert (result.restarted, result.rung) == (count, 2 * count)
    assert len(rung) == len(set(rung)) == 15
    assert types(engine)["saga.woken"] == 5


@pytest.mark.usefixtures("small_batches")
def test_ringing_alone_is_bounded_too_and_wakes_as_much_as_it_rings(engine, rung):
    unheard(engine, 5)
    parked(engine, 3)
    rung.clear()
    assert [engine.recovery.ring_due(SCOPE, budget=NO_TIME) for _ in range(4)] == [4, 3, 1, 0]
    assert engine.ring_due() == 0
    assert len(rung) == len(set(rung)) == 8


def test_a_slow_callback_ends_the_time_of_a_sweep_within_a_batch(engine):
    orphans(engine, 4)
    asked = []

    def answer(run):
        asked.append(run.id)
        return "hold"

    for count in range(1, 5):
        assert engine.recovery.sweep(SCOPE, budget=NO_TIME, resolve_policy=answer).held == 1
        assert len(asked) == len(set(asked)) == count
    assert engine.recovery.sweep(SCOPE, budget=NO_TIME, resolve_policy=answer).held == 0


@pytest.mark.usefixtures("small_batches")
def test_what_another_sweeper_has_in_hand_is_passed_over_and_all_else_is_taken(engine, rung):
    orphans(engine, 9)
    unheard(engine, 9)
    rung.clear()
    taken = "SELECT id FROM saga_runs WHERE kind = %s ORDER BY id LIMIT 4 FOR UPDATE"
    with psycopg.connect(engine.settings.database_url) as other:
        locked = {str(id) for kind in ("t", "unheard") for (id,) in other.execute(taken, [kind])}
        result = engine.recovery.sweep(SCOPE, budget=TIME_FOR_ALL)
        assert (result.restarted, result.skipped, result.rung) == (5, 4, 5)
        assert not locked & set(rung)
    result = engine.recovery.sweep(SCOPE, budget=TIME_FOR_ALL)
    assert (result.restarted, result.skipped, result.rung) == (4, 0, 4)
    assert len(rung) == len(set(rung)) == 18


@pytest.mark.usefixtures("small_batches")
def test_a_broker_that_is_away_is_asked_once_for_each_kind_and_keeps_no_takeover_back(engine):
    asked = []

    def ring(bells):
        asked.append(len(bells))
        raise ConnectionError("the broker is away")

    orphans(engine, 6)
    unheard(engine, 6)
    parked(engine, 6)
    with Engine(engine.settings, ring=ring) as other:
        result = other.recovery.sweep(SCOPE, budget=TIME_FOR_ALL)
    assert (result.restarted, result.rung) == (6, 0)
    assert asked == [2, 2, 2]


@pytest.mark.parametrize(("tick", "seconds", "held"), [(1.0, 0.3, 2), (60.0, 2.0, 3)])
def test_the_time_of_a_sweep_is_half_a_tick_and_at_most_five_seconds(engine, monkeypatch, tick, seconds, held):
    monkeypatch.setattr("sagaworker.recovery.sweep.BATCH", 1)
    passed = [0.0]
    monkeypatch.setattr("sagaworker.recovery.sweep.now", lambda: passed[0])

    def answer(_run):
        passed[0] += seconds
        return "hold"

    orphans(engine, 5)
    with Engine(engine.settings.replace(sweep_interval=tick)) as other:
        assert other.sweep(resolve_policy=answer).held == held
