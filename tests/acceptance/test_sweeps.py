"""Workers without a beat notice and sweep, and what a sweep did can be seen; real prefork workers throughout."""

from __future__ import annotations

import os
import signal

from tests.acceptance.stage import ACTS, LEASE, SWEEP


def killed_main(stage):
    """A saga whose whole worker was killed inside a step, so that no witness saw it."""
    worker = stage.worker("-c", "1")
    run = stage.engine.start("abandoned", [{"step": ACTS, "params": {"seconds": 0.5}}] * 2)
    child = stage.holder(run.id)
    os.kill(worker.pid, signal.SIGKILL)
    os.kill(child, signal.SIGKILL)
    return run


def test_without_any_beat_the_children_notice_and_sweep(stage):
    run = killed_main(stage)
    worker = stage.worker("-c", "2")
    # Its own first recovery comes too early: the lease is not over then.
    done = stage.finished(run.id, timeout=LEASE + 20 * SWEEP)
    assert done.status == "completed"
    assert "orphaned" in stage.outcomes(run.id)
    assert "this worker sweeps" in worker.logs()
    assert not stage.breaches(run.id)


def test_the_counts_of_a_sweep_and_of_a_recovery_are_in_the_events_that_flower_shows(stage):
    stage.worker("-c", "1")
    results = []
    with stage.client.connection_for_read() as connection:
        receiver = stage.client.events.Receiver(
            connection, handlers={"task-succeeded": lambda event: results.append(event["result"])}
        )
        receiver.on_consume_ready = lambda *_, **__: [
            stage.send(name) for name in ("sagaworker.sweep_orphans", "sagaworker.recover")
        ]
        for _ in receiver.itercapture(limit=None, timeout=20):
            if any("'held_back'" in r and "'definitions'" not in r for r in results) and any(
                "'definitions'" in r for r in results
            ):
                break
    assert all("'restarted': 0" in result for result in results if "'held_back'" in result), results
