"""The private Valkey: its data, its owner, its crash."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import psutil
import pytest
import redis

from sagaworker.embedded import EmbeddedValkey, FolderInUse
from tests.embedded.conftest import wait_gone
from tests.embedded.test_postgres import as_user_of
from tests.waiting import PATIENCE, wait_until


def client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, decode_responses=True)


def test_messages_and_url_survive_a_stop_a_crash_and_a_start(folder: Path) -> None:
    with EmbeddedValkey(folder / "vk") as server:
        url = server.url
        with client(url) as broker:
            broker.rpush("sagas", "before the stop")
        assert server.restart() == url
        with client(url) as broker:
            broker.rpush("sagas", "before the crash")
        pid = server.pid
        server.kill()
        assert not server.running
        wait_gone(pid)
        assert server.start() == url
    with EmbeddedValkey(folder / "vk") as server, client(server.url) as broker:
        assert server.url == url
        assert broker.lrange("sagas", 0, -1) == ["before the stop", "before the crash"]


def test_nobody_enters_without_the_password_which_only_its_owner_can_read(folder: Path) -> None:
    with EmbeddedValkey(folder / "vk", durable=False) as server:
        password = server.url.split(":")[2].split("@")[0]
        with client(server.url.replace(f":{password}@", "")) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
        assert stat.S_IMODE((folder / "vk/password").stat().st_mode) == 0o600
        everything = [word for process in psutil.process_iter(["cmdline"]) for word in process.info["cmdline"] or []]
        assert not [word for word in everything if password in word]
        listening = {c.laddr.ip for c in psutil.Process(server.pid).net_connections() if c.status == psutil.CONN_LISTEN}
        assert listening == {"127.0.0.1"}
        if os.geteuid() == 0:
            assert psutil.Process(server.pid).uids().effective != 0


def test_a_folder_whose_owner_lives_is_refused_with_folder_and_process(folder: Path) -> None:
    with EmbeddedValkey(folder / "vk", durable=False) as server:
        with pytest.raises(FolderInUse, match=f"folder {folder / 'vk'} must have .* got process {os.getpid()}"):
            EmbeddedValkey(folder / "vk").start()
        assert server.running


def test_a_server_that_outlived_its_owner_is_stopped_first(folder: Path) -> None:
    with EmbeddedValkey(folder / "vk") as server:
        told = psutil.Process(server.pid)
        argv, cwd, user = told.cmdline(), told.cwd(), as_user_of(told)
        port = server.url.rpartition(":")[2].split("/")[0]
    program = [told_word for told_word in argv if told_word.endswith("-server")] or argv[:1]
    assert program
    orphan = subprocess.Popen(
        [*program, "--port", port, "--bind", "127.0.0.1", "--appendonly", "yes"],
        cwd=cwd, stdout=subprocess.DEVNULL, start_new_session=True, **user,
    )  # fmt: skip
    with client(f"redis://127.0.0.1:{port}/0") as broker:
        wait_until(lambda: _answers(broker))
        broker.set("kept", "yes")
    with EmbeddedValkey(folder / "vk") as server:
        assert orphan.wait(PATIENCE) == 0
        assert server.url.endswith(f":{port}/0")
        with client(server.url) as broker:
            assert broker.get("kept") == "yes"


def _answers(broker: redis.Redis) -> bool:
    try:
        return bool(broker.ping())
    except redis.ConnectionError:
        return False
