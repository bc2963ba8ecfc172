"""kill -9 of the pool child that holds a saga: only of our worker's child, and only while it holds the saga."""

from __future__ import annotations

import os
import signal
import socket

import psutil

from demo.wrong import Wrong
from sagaworker.domain.records import Timeline


def kill_holder(timeline: Timeline, worker: int | None) -> int:
    """Kill the process named by the saga's open episode, once it is proven to be a child of our worker; its pid.

    Raises:
        Wrong: the saga is held elsewhere, by a worker that is not the demo's.
    """
    episode = timeline.episodes[-1]
    here = socket.gethostname()
    children = {child.pid for child in psutil.Process(worker).children(recursive=True)} if worker else set()
    if episode.host != here or episode.pid not in children:
        raise Wrong(
            f"saga {timeline.run.label} must run in a pool child of the demo's worker {worker} on {here}, got process"
            f" {episode.pid} on {episode.host}\nanother worker consumes from this broker: stop it, or use another broker"
        )
    os.kill(episode.pid, signal.SIGKILL)
    return episode.pid
