"""Counting: safe between threads, and never in the way of the work."""

import subprocess
import sys

import pytest

from sagaworker.domain.status import RunStatus
from sagaworker.telemetry import metrics
from tests.holding import claimed, expire

FIRST_USE_IN_MANY_THREADS = """
import sys, threading
import prometheus_client
from sagaworker.telemetry import metrics

sys.setswitchinterval(1e-6)
barrier = threading.Barrier(8)
refused = []

def count():
    barrier.wait()
    try:
        metrics.counters().episodes.labels("completed").inc()
    except Exception as exc:
        refused.append(repr(exc))

threads = [threading.Thread(target=count) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert not refused, refused
assert prometheus_client.REGISTRY.get_sample_value("sagaworker_episodes_total", {"outcome": "completed"}) == 8
"""

A_NAME_THAT_IS_TAKEN = """
import prometheus_client
from sagaworker.telemetry import metrics

prometheus_client.Counter("sagaworker_rung", "Somebody else's.")
for _ in range(2):
    metrics.count_episode("completed")
    metrics.count_takeovers({"restart": 1}, witnessed=True)
    metrics.count_sweep(rung=1)
"""


@pytest.mark.parametrize("program", [FIRST_USE_IN_MANY_THREADS, A_NAME_THAT_IS_TAKEN])
def test_the_first_use_of_the_counters_never_raises(program):
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_a_saga_and_a_sweep_go_on_when_nothing_can_be_counted(engine, monkeypatch):
    asked = []

    def refuse():
        asked.append(True)
        raise OSError("no space left on the device of PROMETHEUS_MULTIPROC_DIR")

    monkeypatch.setattr(metrics, "counters", refuse)
    run = engine.start("t", ["steps.echo"])
    assert engine.run(run.id).status is RunStatus.COMPLETED
    orphan, dead = (engine.start("t", ["steps.echo"], recovery_policy="restart") for _ in range(2))
    claimed(engine, orphan.id).close()
    expire(engine, orphan.id)
    assert engine.sweep().restarted == 1
    claimed(engine, dead.id).close()
    assert engine.take_over_dead(engine.owner) == 1
    for left in (orphan, dead):
        assert engine.run(left.id).status is RunStatus.COMPLETED
    assert asked
