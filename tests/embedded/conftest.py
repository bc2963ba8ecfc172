"""Folders that the account of the servers can reach, and owners in processes of their own."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

import sagaworker
from sagaworker.embedded import EmbeddedPostgres
from sagaworker.embedded.process import Account
from tests.waiting import wait_until

_OWNER = Path(__file__).with_name("owner.py")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where servers of this test live: below /tmp and open, for as root they run as nobody. None may be left in it."""
    made = _open_folder()
    yield made
    try:
        # Of an owner that was killed in the end, the servers may still be ending.
        wait_until(lambda: not _working_below(made), what=f"no process is left below {made}")
    finally:
        for process in _working_below(made):
            process.kill()
        shutil.rmtree(made)


def _open_folder() -> Path:
    made = Path(tempfile.mkdtemp(prefix="sagaworker-embedded-"))
    made.chmod(0o711)
    return made


def _working_below(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cwd().startswith(str(folder)):
                found.append(process)
    return found


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    """A folder of services in which PostgreSQL was started once; each test that shares it starts and stops it."""
    made = _open_folder()
    with EmbeddedPostgres(made / "postgres"):
        pass
    yield made
    shutil.rmtree(made)


@pytest.fixture
def pg(home: Path) -> Path:
    """The folder of a PostgreSQL that was started before."""
    return home / "postgres"


def with_our_packages() -> dict[str, str]:
    """An environment in which a Python started in any folder finds this checkout."""
    places = [str(Path(sagaworker.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))}


class Owner:
    """A process that owns servers in a folder."""

    def __init__(self, folder: Path, *, account: Account | None = None, python: str = sys.executable) -> None:
        who = [str(account.uid), str(account.gid), python] if account else []
        self.process = subprocess.Popen(
            [sys.executable, str(_OWNER), str(folder), *who], env=with_our_packages(), cwd="/",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def told(self) -> dict[str, Any]:
        """What it says once the servers run."""
        assert self.process.stdout is not None
        told: dict[str, Any] = json.loads(self.process.stdout.readline())
        return told

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def stop(self) -> int:
        self.process.communicate()
        return self.process.returncode


@pytest.fixture
def own(folder: Path) -> Iterator[Callable[..., Owner]]:
    """Start an owner of servers, in the test's folder if no other is given; it is killed in the end."""
    with ExitStack() as owners:

        def start(where: Path = folder, **options: Any) -> Owner:
            owner = Owner(where, **options)
            owners.callback(owner.kill)
            return owner

        yield start


@pytest.fixture
def ordinary_user(folder: Path) -> dict[str, Any]:
    """Options that make an owner an ordinary user: ourselves; nobody when we are root, who get the folder."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    account = Account(nobody.pw_uid, nobody.pw_gid)
    pythons = [sys.executable, "/usr/local/bin/python3", "/usr/bin/python3"]
    package = Path(sagaworker.__file__).parent
    found = [python for python in pythons if account.can_reach(Path(python).resolve(), package)]
    if not found:
        pytest.skip("no Python and package that the user nobody can reach; run the tests as an ordinary user")
    os.chown(folder, account.uid, account.gid)
    return {"python": found[0], "account": account}


def gone(*pids: int) -> Callable[[], bool]:
    """A condition: none of these processes lives."""

    def none_lives() -> bool:
        return not any(_lives(pid) for pid in pids)

    return none_lives


def _lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def wait_gone(*pids: int) -> None:
    wait_until(gone(*pids), what=f"processes {pids} gone")
