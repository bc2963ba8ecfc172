"""The Procfile under a runner of Procfiles."""

from __future__ import annotations

import os
import re
import socket
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.celery.nodes import ROOT, ProcessContainer
from tests.waiting import PATIENCE, wait_until


@pytest.fixture
def flower_url():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def runner(stage, flower_url):
    """honcho, which calls `celery` by its name and starts each line in a session of its own."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = stage.env | {"FLOWER_PORT": flower_url.rpartition(":")[2], "PATH": path, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "honcho", "-f", str(ROOT / "Procfile"), "start"]
    runner = stage.run(ProcessContainer(stage.folder, command, env))
    yield runner
    for child in runner.children():
        child.kill()


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            return answer.status == 200
    except OSError:
        return False


def test_a_runner_starts_all_of_it_and_ends_all_of_it(stage, runner, flower_url):
    run = stage.engine.start("proc", ["steps.echo"] * 2)
    assert stage.finished(run.id).status == "completed"
    wait_until(lambda: answers(flower_url), what="Flower")
    wait_until(lambda: "due task sagaworker.sweep_orphans" in runner.logs(), what="a beat that ticks")
    below = runner.children()
    runner.kill("SIGTERM")
    runner.wait()
    stopped = re.findall(r"(\w+)\.1.* stopped \(rc=(-?\d+)\)", runner.logs())
    assert {name for name, _ in stopped} == {"worker", "control", "beat", "flower"}, runner.logs()[-3000:]
    wait_until(lambda: not any(child.is_running() for child in below), what="nothing of it left")
