"""The supervisor: what it restarts, in which order it stops, and what it leaves behind (nothing)."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta

import psutil
import pytest
from rich.console import Console

from sagaworker.embedded import Process, Supervisor, coloured_output
from tests.embedded.conftest import gone, wait_gone, with_our_packages
from tests.embedded.supervised import CHILD
from tests.waiting import PATIENCE, wait_until

# Ignores a polite stop, and so does its own child.
STUBBORN = """
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = os.fork()
if child:
    print("child", child, flush=True)
while True: signal.pause()
"""


class Lines:
    """What the processes printed, in the order it came."""

    def __init__(self) -> None:
        self.all: list[tuple[str, str]] = []

    def __call__(self, name: str, line: str) -> None:
        self.all.append((name, line))

    def numbers(self, word: str, name: str = "") -> list[int]:
        """The numbers that were printed after a word, by that process or any."""
        return [int(line.split()[1]) for who, line in self.all if line.startswith(f"{word} ") and name in {"", who}]


def python(name: str, program: str, *, grace: float = PATIENCE) -> Process:
    argv = [sys.executable, "-I", "-S", "-c", program]
    return Process(name=name, argv=argv, grace=timedelta(seconds=grace))


def test_processes_are_stopped_politely_one_after_another_in_the_order_given() -> None:
    lines = Lines()
    names = ["beat", "worker", "flower"]
    with Supervisor([python(name, CHILD) for name in names], output=lines) as supervisor:
        wait_until(lambda: len(lines.numbers("pid")) == len(names))
        pids = [supervisor.pid(name) for name in names]
        assert sorted(lines.numbers("pid")) == sorted(pid for pid in pids if pid)
        assert len({os.getsid(pid) for pid in pids if pid} | {os.getsid(0)}) == len(names) + 1
    assert gone(*lines.numbers("pid"))()
    last = [line for line in lines.all if not line[1].startswith("pid")]
    assert last == [(name, text) for name in names for text in ("bye", "stopped: status 0")]


def test_a_killed_process_is_started_again_after_its_group_is_gone() -> None:
    lines = Lines()
    with Supervisor([python("worker", STUBBORN, grace=0.1)], output=lines) as supervisor:
        wait_until(lambda: lines.numbers("child"))
        first = supervisor.pid("worker")
        assert first is not None
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: len(lines.numbers("child")) > 1)
        assert gone(first, lines.numbers("child")[0])()
        second = supervisor.pid("worker")
        assert second not in {None, first}
    assert [line for _, line in lines.all if line.startswith("ended unasked") and "killed by SIGKILL" in line]


def test_a_process_that_keeps_dying_is_started_at_growing_distances() -> None:
    lines = Lines()
    with Supervisor([python("worker", "raise SystemExit(3)")], output=lines):
        wait_until(lambda: len([line for _, line in lines.all if "starting again" in line]) == 3)
    delays = [line.rpartition("in ")[2] for _, line in lines.all if "status 3" in line]
    assert delays[:3] == ["0.2 s", "0.4 s", "0.8 s"]


def test_a_stop_does_not_wait_for_a_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sagaworker.embedded.supervisor._FIRST_DELAY", 2 * PATIENCE)
    lines = Lines()
    with Supervisor([python("worker", "raise SystemExit(3)")], output=lines) as supervisor:
        wait_until(lambda: [line for _, line in lines.all if "again in 120 s" in line])
        stopping = threading.Thread(target=supervisor.stop, daemon=True)
        stopping.start()
        stopping.join(PATIENCE)
        assert not stopping.is_alive()
    assert supervisor.pid("worker") is None


def test_a_process_that_ignores_a_polite_stop_is_killed_with_its_children_after_its_grace() -> None:
    lines = Lines()
    with Supervisor([python("worker", STUBBORN, grace=0.3)], output=lines) as supervisor:
        wait_until(lambda: lines.numbers("child"))
        pid = supervisor.pid("worker")
        assert pid is not None
        began = time.monotonic()
    assert time.monotonic() - began >= 0.3
    assert gone(pid, *lines.numbers("child"))()


def test_a_second_request_to_stop_kills_at_once() -> None:
    lines = Lines()
    supervisor = Supervisor([python("worker", STUBBORN, grace=3600)], output=lines)
    supervisor.start()
    wait_until(lambda: lines.numbers("child"))
    supervisor.request_stop()
    supervisor.wait()
    stopping = threading.Thread(target=supervisor.stop)
    stopping.start()
    supervisor.request_stop()
    stopping.join(PATIENCE)
    assert not stopping.is_alive()
    assert gone(*lines.numbers("child"))()


def test_a_program_that_does_not_exist_is_named_and_tried_again() -> None:
    lines = Lines()
    with Supervisor([Process(name="worker", argv=["no-such-program"])], output=lines):
        wait_until(lambda: [line for _, line in lines.all if "status 126; starting again" in line])
    assert any("no-such-program must be executable" in line for _, line in lines.all)


def test_a_process_goes_on_though_nobody_can_show_its_lines() -> None:
    def closed(_name: str, _line: str) -> None:
        raise BrokenPipeError

    talkative = "import sys; sys.stdout.write('x' * 500_000 + '\\n')"  # More than a pipe holds.
    with Supervisor([python("worker", talkative)], output=closed) as supervisor:
        first = wait_until(lambda: supervisor.pid("worker"))
        wait_until(lambda: supervisor.pid("worker") not in {None, first}, what="it ended and was started again")


def test_lines_are_shown_after_the_name_of_their_process_and_as_they_are() -> None:
    shown = io.StringIO()
    show = coloured_output(["beat", "worker"], Console(file=shown, width=20, color_system=None))
    show("beat", "[bold]not markup[/bold] " + "long " * 10)
    show("worker", "\x1b[31mred\x1b[0m")
    assert shown.getvalue() == "beat   | [bold]not markup[/bold] " + "long " * 10 + "\nworker | red\n"


@pytest.fixture
def supervised() -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A supervisor in a process of its own, and the processes it keeps."""
    argv = [sys.executable, "-m", "tests.embedded.supervised"]
    with ExitStack() as cleanup:
        process = cleanup.enter_context(
            subprocess.Popen(argv, env=with_our_packages(), stdout=subprocess.PIPE, text=True)
        )
        cleanup.callback(process.kill)
        assert process.stdout is not None
        yield process, [int(process.stdout.readline().split()[2]) for _ in range(2)]


def test_a_supervisor_that_is_killed_leaves_nothing(supervised: tuple[subprocess.Popen[str], list[int]]) -> None:
    process, pids = supervised
    assert all(psutil.pid_exists(pid) for pid in pids)
    process.kill()
    wait_gone(*pids)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_all_politely(number: int, supervised: tuple[subprocess.Popen[str], list[int]]) -> None:
    process, pids = supervised
    process.send_signal(number)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert said.splitlines() == [
        f"{name} {text}" for name in ("first", "second") for text in ("bye", "stopped: status 0")
    ]
    assert gone(*pids)()
