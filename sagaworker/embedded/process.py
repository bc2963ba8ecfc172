"""Child processes that end when this process does, however it ends."""

from __future__ import annotations

import contextlib
import os
import pwd
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from sagaworker.errors import SagaworkerError

_LAUNCH = str(Path(__file__).with_name("launch.py"))
_LOG_LINES = 15


class ServerFailed(SagaworkerError):
    """An embedded server could not be started. None of its processes is left running."""

    def __init__(self, name: str, problem: str, remedy: str = "") -> None:
        super().__init__(name, problem, remedy)
        self.name = name
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"embedded {self.name} must be started, got {self.problem}" + (f"\n{self.remedy}" if self.remedy else "")


@dataclass(frozen=True, slots=True)
class Account:
    """A user to run as: numeric ids, so that a user without a name serves too."""

    uid: int
    gid: int

    @classmethod
    def for_servers(cls, existing_data: Path) -> Account | None:
        """The account that runs a server: None (our own) unless we are root, which PostgreSQL refuses.

        Root takes the owner of existing data, so that a folder made by a user keeps working, else `nobody`.
        """
        if os.geteuid() != 0:
            return None
        if existing_data.exists() and (found := existing_data.stat()).st_uid != 0:
            return cls(found.st_uid, found.st_gid)
        try:
            nobody = pwd.getpwnam("nobody")
        except KeyError:
            raise ServerFailed(
                "servers", "no user named nobody to run as", "run as an ordinary user, or create the user nobody"
            ) from None
        return cls(nobody.pw_uid, nobody.pw_gid)

    def can_reach(self, *paths: Path) -> bool:
        """Whether this account may enter every folder and execute every file named: a process of that account tries."""
        asked = _command(["--reach", *map(str, paths)], account=self, death_signal=signal.SIGKILL)
        # The account may not be able to enter our working folder.
        return subprocess.run(asked, check=False, cwd="/", stderr=subprocess.DEVNULL).returncode == 0


def _command(argv: Sequence[str], *, account: Account | None, death_signal: signal.Signals) -> list[str]:
    who = f"{account.uid}:{account.gid}" if account else "-"
    return [sys.executable, "-I", "-S", _LAUNCH, str(os.getpid()), str(int(death_signal)), who, *argv]


def spawn(
    argv: Sequence[str],
    *,
    death_signal: signal.Signals,
    env: Mapping[str, str],
    account: Account | None = None,
    cwd: Path | None = None,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes],
) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own; standard error goes where standard output goes.

    The kernel sends `death_signal` to the child when the *thread* that called this ends, killed or not: call it from a
    thread that lives as long as the child (ServerProcess and Supervisor each keep one). The session keeps a Ctrl-C in
    the terminal away from the child: its starter stops it.
    """
    return subprocess.Popen(
        _command(argv, account=account, death_signal=death_signal),
        env=dict(env), cwd=cwd, stdin=stdin, stdout=stdout, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


class ServerProcess:
    """A server as a foreground child, with a thread that starts it and waits for its end.

    May be made from any thread: the child lives and dies with this process, not with the caller's thread.
    """

    def __init__(
        self, argv: Sequence[str], *, death_signal: signal.Signals, account: Account | None, cwd: Path, log: Path,
        config: str = "",
    ) -> None:  # fmt: skip
        self.log = log
        self._ended = threading.Event()
        spawned: queue.SimpleQueue[subprocess.Popen[bytes] | OSError] = queue.SimpleQueue()

        def live() -> None:
            try:
                with log.open("wb") as out:
                    process = spawn(
                        argv, death_signal=death_signal, env=server_env(), account=account, cwd=cwd,
                        stdin=subprocess.PIPE if config else subprocess.DEVNULL, stdout=out,
                    )  # fmt: skip
            except OSError as problem:
                spawned.put(problem)
                return
            spawned.put(process)
            process.wait()
            self._ended.set()

        threading.Thread(target=live, name=f"server {Path(argv[0]).name}", daemon=True).start()
        answer = spawned.get()
        if isinstance(answer, OSError):
            raise ServerFailed(Path(argv[0]).name, str(answer)) from answer
        self._process = answer
        if config and answer.stdin is not None:
            # Over a pipe: a password never shows in `ps`, and is in no file that the server's account must read.
            try:
                with answer.stdin as pipe:
                    pipe.write(config.encode())
            except BrokenPipeError:
                pass  # It ended already; the wait for readiness reports why.

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return not self._ended.is_set()

    def wait(self, timeout: float) -> bool:
        """Wait so many seconds for the end; True when the server has ended."""
        return self._ended.wait(timeout)

    def stop(self, *signals: tuple[signal.Signals, float]) -> None:
        """Send each signal in turn and wait that many seconds, until the server has ended; SIGKILL comes last."""
        for number, seconds in (*signals, (signal.SIGKILL, 10.0)):
            if self.running:
                self._process.send_signal(number)
                self.wait(seconds)


def log_tail(log: Path) -> str:
    """The last lines a server wrote."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_LINES:])


def server_env() -> dict[str, str]:
    """An environment in which no PG* variable or locale of the user changes a server's behaviour."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def servers_in(folder: Path, names: frozenset[str]) -> list[psutil.Process]:
    """Processes called one of `names` that work in `folder`, no matter who started them.

    A server's working folder is its data folder, so this finds the processes that a killed owner left, PostgreSQL's
    backends too. A pid file is not trusted: another process may have its number by now.
    """
    where, found = os.path.realpath(folder), []
    for process in psutil.process_iter():
        try:
            # The name too: a person's shell may be in the data folder.
            if process.name() in names and process.cwd() == where:
                found.append(process)
        except psutil.Error:  # The process may end, or be closed to us, between two questions.
            continue
    return found


def end_all(processes: Iterable[psutil.Process], *signals: tuple[signal.Signals, float]) -> None:
    """Send each signal to the topmost of the processes and wait that many seconds; at last SIGKILL to all."""
    left = list(processes)
    for number, seconds in (*signals, (signal.SIGKILL, 10.0)):
        pids = {process.pid for process in left}
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                # A server passes a polite stop on to its children in its own order.
                if number == signal.SIGKILL or process.ppid() not in pids:
                    process.send_signal(number)
        deadline = time.monotonic() + seconds
        while (left := [process for process in left if _lives(process)]) and time.monotonic() < deadline:
            time.sleep(0.02)  # They are not our children, so we cannot wait for them as a parent would.


def _lives(process: psutil.Process) -> bool:
    try:
        # In a container whose first process reaps no children, dead processes stay as zombies.
        return process.is_running() and bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
