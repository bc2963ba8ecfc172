"""`sagaworker up` as a process of its own: found by other commands, stopped by a signal, nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from sagaworker.console import running
from sagaworker.errors import InvalidInput
from tests.nonsense import NONSENSE
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
SAGAWORKER = [sys.executable, "-c", "from sagaworker.cli import main; main()"]


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder for the servers: below /tmp and open, for as root they run as nobody."""
    made = Path(tempfile.mkdtemp(prefix="sagaworker-up-"))
    made.chmod(0o711)
    yield made / "home"
    shutil.rmtree(made)


@pytest.fixture
def env(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SAGAWORKER_")}
    return {**kept, "SAGAWORKER_HOME": str(home)}


class Up:
    """A running `sagaworker up --json`."""

    def __init__(self, env: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                [*SAGAWORKER, "up", "--json", "--concurrency", "1"], env=env, cwd=ROOT, text=True,
                stdout=subprocess.PIPE, stderr=errors, start_new_session=True,
            )  # fmt: skip

    def addresses(self) -> dict[str, Any]:
        """What it says when all answer."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.log.read_text()
        found: dict[str, Any] = json.loads(line)
        return found

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        self.process.communicate(timeout=60)
        return self.process.returncode


@pytest.fixture
def up(env: dict[str, str], home: Path) -> Iterator[Up]:
    started = Up(env, home.parent / "up.log")
    yield started
    if started.process.poll() is None:
        started.end(signal.SIGKILL)


def call(env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SAGAWORKER, *arguments], env=env, cwd=ROOT, check=False, capture_output=True, text=True, timeout=60
    )


def none_lives(family: list[psutil.Process]) -> bool:
    return not [one for one in family if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def test_up_is_found_by_the_other_commands_and_ctrl_c_leaves_nothing(up: Up, env: dict[str, str], home: Path) -> None:
    addresses = up.addresses()
    note = Path(addresses["note"])
    assert stat.S_IMODE(note.stat().st_mode) == 0o600

    walked = call(env, "start", "hello", "steps.echo", "steps.echo", "--key", "one", "--wait", "--json")
    assert walked.returncode == 0, walked.stderr
    assert json.loads(walked.stdout)["status"] == "completed"
    failed = call(env, "start", "refund", "steps.fail", "--key", "one", "--wait")
    assert failed.returncode == 1
    assert failed.stderr == "error: saga refund[one] is rolled_back: step fail failed: this step always fails\n"

    second = call(env, "up")
    assert second.returncode == 1
    assert "must have one owner at a time" in second.stderr

    password = json.loads(note.read_text())["database_url"].split(":")[2].split("@")[0]
    family = up.family()
    assert len(family) >= 5  # PostgreSQL, Valkey, beat, worker, Flower and theirs
    assert up.end(signal.SIGINT) == 0
    wait_until(lambda: none_lives(family), what="all of them gone")
    assert not note.exists()
    assert password not in up.log.read_text()

    away = call(env, "list")
    assert away.returncode == 1
    assert "no `sagaworker up` runs in this folder" in away.stderr


def test_up_that_was_killed_leaves_no_process_and_a_note_nobody_believes(
    up: Up, env: dict[str, str], home: Path
) -> None:
    note = Path(up.addresses()["note"])
    family = up.family()
    up.end(signal.SIGKILL)
    wait_until(lambda: none_lives(family), what="all of them gone")
    assert note.exists()
    assert running.find(home) is None
    assert "no `sagaworker up` runs in this folder" in call(env, "list").stderr


def test_a_developers_variables_for_libpq_reach_nothing_of_up(env: dict[str, str], home: Path) -> None:
    env |= NONSENSE
    up = Up(env, home.parent / "up.log")
    try:
        up.addresses()
        walked = call(env, "start", "hello", "steps.echo", "steps.nap", "--wait", "--json")
        assert walked.returncode == 0, walked.stderr + up.log.read_text()
        assert json.loads(walked.stdout)["status"] == "completed"
        for command in (["audit"], ["list"], ["migrate"]):
            assert call(env, *command).returncode == 0
    finally:
        up.end(signal.SIGINT)


def test_only_one_note_a_folder_and_none_after_it(tmp_path: Path) -> None:
    here = running.Running(database_url="postgresql://a", broker_url="redis://b", flower_url="http://c", pid=1)
    assert running.find(tmp_path) is None
    with running.published(tmp_path, here):
        assert running.find(tmp_path) == here
        with (
            pytest.raises(InvalidInput, match="cannot start in folder"),
            running.published(tmp_path, here),
        ):
            pass
        assert running.find(tmp_path) == here
    assert running.find(tmp_path) is None
    assert list(tmp_path.iterdir()) == []
    assert "postgresql" not in repr(here)
