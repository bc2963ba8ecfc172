"""Between any two lines of a walk something happens to it. Whatever it is, the saga ends as it would have ended."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import SimpleNamespace

import psycopg
import pytest

from sagaworker import RetryPolicy
from sagaworker.engine import Engine
from sagaworker.episodes import HostPlace, episode
from sagaworker.failpoints import POINTS, Failpoints
from sagaworker.ledger import session
from sagaworker.settings import Settings
from tests.attacks import odd_steps
from tests.holding import expire
from tests.showing import timeline
from tests.waiting import wait_until

S = "tests.attacks.odd_steps:"


def _retried(state):
    if state.step_idx == 1 and state.attempt == 1:
        raise ConnectionError("once")


# Steps, the end, the rows, and what is on record in the order of the effects.
WALKS = {
    "forward": ([S + "Calls"] * 3, "completed", ["completed"] * 3),
    "backward": ([S + "Calls"] * 2 + [S + "Declines"], "rolled_back", ["compensated", "compensated", "failed"]),
}
WALKED = [point for point in POINTS if point.split(".")[0] not in ("start", "take_over")]
EVENTS = [(walk, point, nth) for walk in WALKS for point in WALKED for nth in range(2)]


@pytest.fixture
def engine(database_url, monkeypatch):
    monkeypatch.setattr(odd_steps.Calls, "hook", staticmethod(_retried))
    monkeypatch.setattr(odd_steps.Calls, "RETRY", RetryPolicy(max_attempts=2, base=0), raising=False)
    monkeypatch.setattr(odd_steps.Calls, "TOMBSTONE", True, raising=False)
    monkeypatch.setitem(session.SESSION, "lock_timeout", "100ms")
    settings = Settings.from_env({}, database_url=database_url, step_packages=("steps", "tests.attacks"), lease=600)
    odd_steps.EFFECTS.clear()
    with Engine(settings) as engine:
        yield engine
        assert engine.audit() == []


@pytest.fixture
def strike(monkeypatch):
    """At the nth hit of a point, counted from 0, something happens, once."""
    what = {}

    def hit(_self, point, step_idx=None):
        if point == what.get("point"):
            what["left"] -= 1
            if what["left"] == -1:
                what["struck"] = True
                what["do"]()

    monkeypatch.setattr(Failpoints, "hit", hit)

    def set_(point, nth, do):
        what.update(point=point, left=nth, do=do, struck=False)
        return what

    return set_


def sql(engine, statement, *parameters):
    with psycopg.connect(engine.settings.database_url, autocommit=True) as connection:
        connection.execute(statement, parameters)


def finish(engine, run, walk):
    _, status, rows = WALKS[walk]
    wait_until(lambda: engine.run(run.id).status.is_terminal)
    shown = timeline(engine, run.id)
    assert engine.get(run.id).status == status, shown
    found = engine.list_step_results(run.id)
    # A refusal after a takeover is a refusal after a doubt: that step is undone too.
    expected = [
        "compensated" if row.in_doubt and walk == "backward" else status
        for row, status in zip(found, rows, strict=True)
    ]
    assert [str(row.status) for row in found] == expected, shown
    undone = [e.step_idx for e in engine.timeline(run.id).journal if e.type == "step.compensated"]
    assert undone == [row.step_idx for row in reversed(found) if row.status == "compensated"], shown
    assert all(e.ended_at is not None for e in engine.timeline(run.id).episodes), shown


def test_every_backend_killed_at_every_point_changes_nothing(engine, strike):
    def kill():
        sql(
            engine,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'sagaworker'",
        )

    struck = 0
    for walk, point, nth in EVENTS:
        what = strike(point, nth, kill)
        run = engine.start("t", WALKS[walk][0])
        engine.run_episode(run.id, place=HostPlace())
        struck += what["struck"]
        assert len(engine.timeline(run.id).episodes) == 1, f"{point} {nth}\n" + timeline(engine, run.id)
        finish(engine, run, walk)
    assert struck > 25


def test_a_saga_row_that_somebody_keeps_locked_for_a_while_changes_nothing(engine, strike):
    struck = 0
    for walk, point, nth in EVENTS[::2]:
        run = engine.start("t", WALKS[walk][0])
        with psycopg.connect(engine.settings.database_url) as locker:
            unlock = threading.Timer(0.15, locker.rollback)

            def lock(locker=locker, run=run, unlock=unlock):
                locker.execute("SELECT FROM saga_runs WHERE id = %s FOR UPDATE", (run.id,))
                unlock.start()

            what = strike(point, nth, lock)
            engine.run_episode(run.id, place=HostPlace())
            if what["struck"]:
                struck += 1
                unlock.join()
            finish(engine, run, walk)
    assert struck > 15


def test_a_takeover_at_every_point_fences_the_walker_and_another_goes_on(engine, strike):
    struck = 0
    with Engine(engine.settings) as other:
        for walk, point, nth in EVENTS:
            run = engine.start("t", WALKS[walk][0])

            def take_over(run=run):
                expire(other, run.id)
                other.sweep()
                stops = iter([False, False])
                other.run_episode(run.id, place=HostPlace(), should_stop=lambda: next(stops, True))

            what = strike(point, nth, take_over)
            engine.run_episode(run.id, place=HostPlace())
            struck += what["struck"]
            what["point"] = ""
            finish(engine, run, walk)
    assert struck > 25


def test_ctrl_c_at_every_point_loses_nothing_and_doubts_nothing_but_the_step_it_met(engine, strike):
    struck = 0
    for walk, point, nth in EVENTS:
        what = strike(point, nth, lambda: os.kill(os.getpid(), signal.SIGINT))
        run = engine.start("t", WALKS[walk][0])
        try:
            engine.run(run.id)
            was_interrupted = False
        except KeyboardInterrupt:
            was_interrupted = True
        assert was_interrupted is what["struck"], f"{point} {nth}\n" + timeline(engine, run.id)
        struck += what["struck"]
        what["point"] = ""  # not in what finishes it: a claim that is guessed passes a point more
        is_inside = what["struck"] and point.split(".")[0] in ("execute", "compensate")
        expected = {"yielded", "completed", "rolled_back", *(["died"] if is_inside else [])}
        assert {str(e.outcome) for e in engine.timeline(run.id).episodes} <= expected, point
        finish(engine, run, walk)
        rows = engine.list_step_results(run.id)
        assert sum(row.recoveries + row.compensation_recoveries for row in rows) == int(is_inside), point
    assert struck > 25


def test_ctrl_c_in_the_wait_for_a_retry_yields_at_once(engine, monkeypatch):
    monkeypatch.setattr(odd_steps.Calls, "RETRY", RetryPolicy(max_attempts=2, base=4.9, jitter=False), raising=False)
    run = engine.start("t", [S + "Calls"] * 2)
    waits = []

    def sleep(seconds):
        """The wait for the retry, a tenth of a second at a time."""
        waits.append(seconds)
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(episode, "time", SimpleNamespace(monotonic=time.monotonic, sleep=sleep))
        with pytest.raises(KeyboardInterrupt):
            engine.run(run.id)
    assert len(waits) == 1
    assert engine.timeline(run.id).episodes[0].outcome == "yielded"
    assert engine.run(run.id).status == "completed"
    assert engine.list_step_results(run.id)[1].attempts == 2
