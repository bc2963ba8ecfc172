"""Threads, forks, two engines, and a time-out that meets the very end of a step."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter

import pytest

from sagaworker import RetryPolicy
from sagaworker.engine import Engine
from sagaworker.episodes import HostPlace
from tests.attacks import odd_steps
from tests.showing import timeline
from tests.waiting import PATIENCE, wait_until

S = "tests.attacks.odd_steps:"


def in_child(act):
    """Run `act` in a forked child; its exit status: 0 when it returned."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            act()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_forked_after_use_walks_without_being_told_and_harms_its_parent_not(engine):
    engine.run(engine.start("t", ["steps.echo"]).id)
    runs = [engine.start("t", ["steps.echo"] * 3) for _ in range(4)]
    owner = engine.owner

    def act():
        for run in runs[:2]:
            assert engine.run(run.id).status == "completed"
        assert engine.owner != owner
        assert len(engine.list()) == 5

    assert in_child(act) == 0
    for run in runs[2:]:
        assert engine.run(run.id).status == "completed"
    owners = {engine.timeline(run.id).episodes[0].owner for run in runs}
    assert len(owners) == 2


def test_two_engines_and_many_bells_of_one_process_walk_each_saga_once(engine, settings):
    with Engine(settings) as other:
        runs = [engine.start("t", [S + "Works"] * 3) for _ in range(10)]
        barrier = threading.Barrier(8, timeout=PATIENCE)
        failures = []

        def body(number):
            barrier.wait()
            for run in runs:
                try:
                    (engine, other)[number % 2].run(run.id)
                except BaseException as exc:
                    failures.append(exc)

        threads = [threading.Thread(target=body, args=(number,), daemon=True) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        assert failures == []
        for run in runs:
            assert engine.get(run.id).status == "completed", timeline(engine, run.id)
            assert len(engine.timeline(run.id).episodes) == 1
    assert Counter(odd_steps.EFFECTS) == {f"execute {idx}": 10 for idx in range(3)}


def test_a_time_out_that_meets_the_very_end_of_a_step_leaves_one_outcome(engine, monkeypatch):
    dice = random.Random(1)

    def hook(_state):
        until = time.perf_counter() + 0.003 + dice.uniform(-0.0003, 0.00005)
        while time.perf_counter() < until:
            pass

    monkeypatch.setattr(odd_steps.Calls, "hook", staticmethod(hook))
    monkeypatch.setattr(odd_steps.Calls, "TIMEOUT", 0.003, raising=False)
    monkeypatch.setattr(odd_steps.Calls, "RETRY", RetryPolicy(max_attempts=10_000, base=0), raising=False)
    run = engine.start("t", [S + "Calls"] * 150)
    end = engine.run_episode(run.id, place=HostPlace())
    assert end.outcome == "completed", timeline(engine, run.id)
    rows = engine.list_step_results(run.id)
    assert all(row.in_doubt == row.attempts - 1 for row in rows)
    assert sum(row.in_doubt for row in rows) > 5


def test_a_hung_step_in_a_thread_with_a_living_heartbeat_becomes_an_orphan(engine, settings, monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(
        odd_steps.Calls, "hook", staticmethod(lambda state: release.wait(PATIENCE) if state.attempt == 1 else None)
    )
    monkeypatch.setattr(odd_steps.Calls, "TIMEOUT", 0.1, raising=False)
    with Engine(settings.replace(lease=0.5)) as hanging:
        run = hanging.start("t", [S + "Calls"])
        thread = threading.Thread(target=hanging.run, args=(run.id,), daemon=True)
        thread.start()
        wait_until(lambda: engine.sweep().restarted)
        release.set()
        thread.join(PATIENCE)
        assert not thread.is_alive()
    monkeypatch.setattr(odd_steps.Calls, "TIMEOUT", 60)
    assert engine.run(run.id).status == "completed", timeline(engine, run.id)
    assert [str(e.outcome) for e in engine.timeline(run.id).episodes] == ["orphaned", "completed"]
