"""Run the processes of `sagaworker up` and the demo: show their output, restart a dead one, stop all politely.

honcho runs processes and shows their output. It ends children by SIGTERM to the whole group and SIGKILL five seconds
later, which kills pool children in the middle of a step. It restarts nothing, and leaves its children behind when killed.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import FrameType
from typing import IO, Self

import psutil
from rich.console import Console
from rich.text import Text

from sagaworker.embedded.process import spawn

Output = Callable[[str, str], None]

_COLOURS = ("cyan", "green", "magenta", "yellow", "blue", "red")
_LINE_BYTES = 65_536
_FIRST_DELAY = 0.2
_LONGEST_DELAY = 10.0
_GROUP_SECONDS = 5.0  # For killed processes to be gone; do not wait longer for one that hangs in the kernel.
_STEADY = 10.0  # After a life of so many seconds, the delay before a restart begins anew.


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One child: `env` is added to the environment; `grace` is how long a polite stop may take before SIGKILL."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    grace: timedelta = timedelta(seconds=60)


class Supervisor:
    """Keep processes running, each in a session of its own; stop them one after another in the order given.

    A child that ends unasked, for whatever reason, is started again after 0.2 s, doubling up to 10 s while it keeps
    dying; the rest of its group is killed first, so that two generations never run at once. When this process is
    killed the kernel kills the children too. Threads call `output(name, line)` for each line of output.

    >>> with Supervisor([Process(name="hi", argv=["echo", "hello"])]) as supervisor:  # doctest: +SKIP
    ...     supervisor.wait()
    """

    def __init__(self, processes: Sequence[Process], *, output: Output | None = None) -> None:
        names = [process.name for process in processes]
        output = output or coloured_output(names)
        self._watched = {process.name: _Watched(process, output) for process in processes}
        # A queue and not an Event: a signal handler's put may interrupt the get of the same thread.
        self._requests: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._asked = False

    def start(self) -> None:
        """Start all, in the order given; returns at once."""
        for watched in self._watched.values():
            watched.start()

    def pid(self, name: str) -> int | None:
        """The process id of a child now, None while it is between two lives."""
        return self._watched[name].pid

    def wait(self) -> None:
        """Sleep until a stop is requested, by `request_stop` or, in `run`, by a signal."""
        self._requests.get()

    def request_stop(self) -> None:
        """Let `wait` return; from any thread or signal handler. A second request kills the children that still run."""
        if self._asked:
            for watched in self._watched.values():
                watched.kill()
        self._asked = True
        self._requests.put(None)

    def stop(self) -> None:
        """SIGTERM to each main process in turn, wait its grace, SIGKILL to its group; no child is left after this."""
        for watched in self._watched.values():
            watched.stop()

    def run(self) -> None:
        """Start, wait for SIGINT, SIGTERM or SIGHUP, stop. A second signal kills at once. Main thread only."""

        def asked(_number: int, _frame: FrameType | None) -> None:
            self.request_stop()

        before = {number: signal.signal(number, asked) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        try:
            with self:
                self.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def coloured_output(names: Sequence[str], console: Console | None = None) -> Output:
    """Print lines on the console, each after the name of its process, one colour for each process."""
    console = console or Console(highlight=False)
    width = max(map(len, names), default=0)
    colours = dict(zip(names, itertools.cycle(_COLOURS), strict=False))

    def show(name: str, line: str) -> None:
        prefix = Text(f"{name:<{width}} | ", style=colours.get(name, ""))
        console.print(prefix + Text.from_ansi(line), soft_wrap=True)

    return show


class _Watched:
    """One child and the thread that starts it, waits for it and starts it again.

    That thread lives until the last child has ended: the parent-death signal is tied to the thread that forked.
    """

    def __init__(self, process: Process, output: Output) -> None:
        self._process = process
        self._output = output
        # Held while the child is started or reaped, so that a freed process number is never signalled.
        # Reentrant: a second Ctrl-C interrupts `stop`.
        self._lock = threading.RLock()
        self._child: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._live, name=f"supervise {process.name}", daemon=True)

    @property
    def pid(self) -> int | None:
        child = self._child
        return child.pid if child else None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        with self._lock:
            self._stopping.set()
            if self._child:
                self._child.terminate()
        if self._thread.is_alive():
            self._thread.join(self._process.grace.total_seconds())
            self.kill()
            self._thread.join()

    def kill(self) -> None:
        with self._lock:
            self._stopping.set()
            if self._child:
                _kill_group(self._child.pid)

    def _live(self) -> None:
        delay = _FIRST_DELAY
        while not self._stopping.is_set():
            began = time.monotonic()
            ending = self._one_life()
            if self._stopping.is_set():
                self._say(f"stopped: {ending}")
                return
            lived = time.monotonic() - began
            delay = _FIRST_DELAY if lived >= _STEADY else delay
            self._say(f"ended unasked after {lived:.1f} s: {ending}; starting again in {delay:g} s")
            self._stopping.wait(delay)
            delay = min(delay * 2, _LONGEST_DELAY)

    def _one_life(self) -> str:
        """Start the child, show its lines and reap it; returns how it ended."""
        with self._lock:
            if self._stopping.is_set():
                return "not started"
            try:
                self._child = child = self._spawn()
            except OSError as problem:  # No memory or no process number left: the machine may recover.
                return str(problem)
        reader = threading.Thread(target=self._read, args=[child.stdout], daemon=True)
        reader.start()
        status = self._reap(child)
        reader.join(1.0)  # For its last lines. Not longer: a process outside the group may keep the pipe open.
        return f"killed by {signal.Signals(-status).name}" if status < 0 else f"status {status}"

    def _spawn(self) -> subprocess.Popen[bytes]:
        # Unbuffered: a line is shown when it is printed, not when a buffer is full.
        env = {**os.environ, "PYTHONUNBUFFERED": "1", **self._process.env}
        return spawn(self._process.argv, death_signal=signal.SIGKILL, env=env, stdout=subprocess.PIPE)

    def _reap(self, child: subprocess.Popen[bytes]) -> int:
        # Before reaping: while the dead leader keeps its number, no other group can have that number.
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        _kill_group(child.pid)
        deadline = time.monotonic() + _GROUP_SECONDS
        while _group_lives(child.pid) and time.monotonic() < deadline:
            time.sleep(0.01)  # They are not our children, so we cannot wait for them.
        with self._lock:
            self._child = None
            return child.wait()

    def _read(self, pipe: IO[bytes]) -> None:
        with pipe:
            while line := pipe.readline(_LINE_BYTES):
                self._say(line.decode(errors="replace").rstrip("\r\n"))

    def _say(self, line: str) -> None:
        # Go on reading when the terminal has gone: the child would block on a full pipe.
        with contextlib.suppress(OSError, ValueError):
            self._output(self._process.name, line)


def _kill_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def _group_lives(leader: int) -> bool:
    for pid in psutil.pids():
        with contextlib.suppress(ProcessLookupError, PermissionError, psutil.Error):
            # The group first: it costs a system call, the state costs a file.
            if os.getpgid(pid) == leader and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                return True
    return False
