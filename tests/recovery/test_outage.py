"""After an outage of the database nothing is taken over for a full lease: the living must be able to say so first."""

from datetime import timedelta

import psycopg
import pytest

from sagaworker.ledger import lease
from tests.holding import claimed
from tests.recovery.abandoned import another, execute, orphan


def slept(engine, seconds):
    """As if no sweeper had reached the database for so long."""
    execute(engine, "UPDATE saga_sweeps SET last_at = last_at - %s * interval '1 second'", seconds)


def test_the_first_sweep_of_a_ledger_is_not_held_back(engine):
    orphan(engine)
    assert engine.sweep().restarted == 1


def test_sweeps_that_follow_each_other_hold_nothing_back(engine):
    engine.sweep()
    slept(engine, 29)
    orphan(engine)
    result = engine.sweep()
    assert (result.restarted, result.held_back) == (1, 0)


def test_after_a_gap_longer_than_tick_and_lease_takeovers_wait_one_lease_and_doorbells_do_not(engine, rung):
    engine.sweep()
    run, due = orphan(engine), engine.start("t", ["steps.echo"])
    execute(engine, "UPDATE saga_runs SET wake_at = now() WHERE id = %s", due.id)
    slept(engine, 3600)
    rung.clear()
    result = engine.sweep()
    assert (result.restarted, result.held_back, result.rung) == (0, 1, 1)
    assert rung == [due.id]
    assert engine.sweep().held_back == 1
    execute(engine, "UPDATE saga_sweeps SET held_until = held_until - interval '30 seconds'")
    assert engine.sweep().restarted == 1
    assert engine.get(run.id).recoveries == 1


def test_one_sweeper_that_notices_holds_all_back(engine):
    engine.sweep()
    orphan(engine)
    slept(engine, 3600)
    with another(engine) as first, another(engine) as second:
        assert first.sweep().held_back == 1
        assert second.sweep().held_back == 1
        assert engine.sweep_tick().held_back == 0  # the tick was taken already
    execute(engine, "UPDATE saga_sweeps SET held_until = NULL")
    assert engine.sweep().restarted == 1


@pytest.mark.parametrize(("away", "held"), [(4, 4), (29, 29), (45, 30)])
def test_a_server_that_was_started_again_holds_back_for_as_long_as_nobody_reached_it(engine, away, held):
    engine.sweep()
    orphan(engine)
    slept(engine, away)
    execute(engine, "UPDATE saga_sweeps SET server_started_at = server_started_at - interval '1 day'")
    assert engine.sweep().held_back == 1
    execute(engine, "UPDATE saga_sweeps SET held_until = held_until - %s * interval '1 second'", held - 2)
    assert engine.sweep().held_back == 1, "two seconds before"
    execute(engine, "UPDATE saga_sweeps SET held_until = held_until - interval '3 seconds'")
    assert engine.sweep().restarted == 1, "a second after"


def test_a_second_restart_does_not_shorten_what_the_first_one_holds_back(engine):
    restarted = "UPDATE saga_sweeps SET server_started_at = server_started_at - interval '1 day'"
    engine.sweep()
    orphan(engine)
    slept(engine, 20)
    execute(engine, restarted)
    assert engine.sweep().held_back == 1
    execute(engine, restarted)
    assert engine.sweep().held_back == 1
    assert engine.sweep().held_back == 1
    execute(engine, "UPDATE saga_sweeps SET held_until = held_until - interval '21 seconds'")
    assert engine.sweep().restarted == 1


def test_a_holder_that_lived_through_the_outage_keeps_its_saga(engine):
    engine.sweep()
    hold = claimed(engine, engine.start("t", ["steps.echo"]).id)
    execute(engine, "UPDATE saga_episodes SET lease_until = now() - interval '1 second'")
    slept(engine, 3600)
    assert engine.sweep().held_back == 1
    with engine.database.checkout() as connection:
        assert engine.ledger.extend([(hold.saga_id, hold.fence)], connection)
    execute(engine, "UPDATE saga_sweeps SET held_until = NULL")
    assert engine.sweep().restarted == 0
    hold.yield_()
    hold.close()


def test_a_sweeper_that_could_not_reach_the_database_holds_back_for_as_long_and_the_others_do_not(
    empty_database_url, database_server, monkeypatch
):
    from sagaworker import Engine
    from sagaworker.ledger.migrate import migrate
    from sagaworker.settings import Settings

    migrate(empty_database_url)
    settings = Settings.from_env({}, database_url=empty_database_url, lease=600, sweep_interval=200)
    name = empty_database_url.rpartition("/")[2].partition("?")[0]
    with Engine(settings) as engine, psycopg.connect(database_server.url_of("postgres"), autocommit=True) as admin:
        orphan(engine)
        engine.sweep_if_overdue()
        orphan(engine)
        away = 300  # seconds by the clock of this process
        pass_in(monkeypatch, away)
        admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        with pytest.raises(Exception, match="not currently accepting connections"):
            engine.sweep()
        admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        assert engine.sweep().held_back == 1
        with Engine(settings) as other:  # it never failed, and the gap was short: the others are free to go on
            assert other.sweep().held_back == 0
        orphan(engine)
        pass_in(monkeypatch, away + away - 60)
        assert engine.sweep().held_back == 1
        pass_in(monkeypatch, away + away + 60)
        assert engine.sweep().restarted == 1


def pass_in(monkeypatch, seconds):
    """As if so many seconds had passed since the test began, for what this process itself saw of the database."""
    monkeypatch.setattr("sagaworker.recovery.reach.now", lambda: lease.now() + seconds)


def rewound(engine, seconds):
    """As if all that sweepers noted had been so long ago."""
    slept(engine, seconds)
    execute(engine, "UPDATE saga_sweeps SET held_until = held_until - %s * interval '1 second'", seconds)


def test_sweeps_rarer_than_any_gap_take_over_at_every_second_one(engine):
    engine.sweep()
    taken = []
    for _ in range(4):
        orphan(engine)
        rewound(engine, 3600)
        result = engine.sweep()
        taken.append((result.restarted, result.held_back))
    assert taken == [(0, 1), (2, 0), (0, 1), (2, 0)]


def test_a_server_that_is_started_again_holds_back_also_while_sweeps_are_rare(engine):
    engine.sweep()
    rewound(engine, 3600)
    engine.sweep()
    orphan(engine)
    rewound(engine, 3600)
    execute(engine, "UPDATE saga_sweeps SET server_started_at = server_started_at - interval '1 day'")
    assert engine.sweep().held_back == 1
    execute(engine, "UPDATE saga_sweeps SET held_until = NULL")
    assert engine.sweep().restarted == 1


@pytest.mark.parametrize(("downtime", "restarted"), [(49, 1), (51, 0)])
def test_a_restart_of_everything_waits_for_no_lease_unless_it_took_fifty_seconds(engine, downtime, restarted):
    """With the intervals of the settings: a lease of 30 s, a tick of 10 s. What is longer looks like an outage."""
    with another(engine, sweep_interval=timedelta(seconds=10)) as before:
        before.sweep()
        orphan(before)
        slept(before, downtime)
    with another(engine, sweep_interval=timedelta(seconds=10)) as after:
        assert after.sweep().restarted == restarted
    execute(engine, "UPDATE saga_sweeps SET held_until = NULL")
    engine.sweep()


def test_the_witness_is_not_held_back(engine):
    engine.sweep()
    run = engine.start("t", ["steps.echo"])
    claimed(engine, run.id).close()
    slept(engine, 3600)
    assert engine.take_over_dead(engine.owner) == 1


def test_overdue_sweeps_of_workers_are_never_taken_for_an_outage(engine):
    tick = timedelta(seconds=600)
    with another(engine, sweep_interval=tick) as slow:
        slow.sweep()
        orphan(slow)
        slept(slow, 4 * 600)
        result = slow.sweep_if_overdue()
        assert result is not None
        assert (result.restarted, result.held_back) == (1, 0)


@pytest.mark.parametrize("how", ["the beat's sweep", "whoever notices"])
def test_a_clock_that_was_set_back_stops_no_sweep(engine, how):
    """A fail-over, or NTP: what sweepers noted is in the future then, and would be for as long as the step was."""
    engine.sweep_tick()
    orphan(engine)
    slept(engine, -3600)
    result = engine.sweep_tick() if how == "the beat's sweep" else engine.sweep_if_overdue()
    assert result is not None
    assert result.restarted == 1


def test_a_clock_that_was_set_back_holds_takeovers_back_for_a_lease_at_most(engine):
    engine.sweep()
    slept(engine, 3600)
    engine.sweep()
    execute(engine, "UPDATE saga_sweeps SET held_until = held_until + interval '1 hour'")
    orphan(engine)
    assert engine.sweep().held_back == 1
    rewound(engine, engine.settings.lease.total_seconds() + 1)
    slept(engine, -engine.settings.lease.total_seconds() - 1)  # sweepers have come all the time
    assert engine.sweep().restarted == 1
