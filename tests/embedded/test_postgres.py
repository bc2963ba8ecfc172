"""The private PostgreSQL: its data, its owner, its crash."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from sagaworker.embedded import EmbeddedPostgres, EmbeddedValkey, FolderInUse, ServerFailed
from tests.embedded.conftest import Owner, wait_gone
from tests.nonsense import NONSENSE
from tests.waiting import PATIENCE, wait_until


def remember(url: str, word: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS words (word text)")
        connection.execute("INSERT INTO words VALUES (%s)", [word])


def remembered(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [word for (word,) in connection.execute("SELECT word FROM words ORDER BY word").fetchall()]


def test_data_url_and_password_survive_a_stop_and_a_start(pg: Path) -> None:
    with EmbeddedPostgres(pg) as server:
        first = server.url
        remember(first, "kept")
        everybody = [server.pid, *[process.pid for process in psutil.Process(server.pid).children()]]
    wait_gone(*everybody)

    with EmbeddedPostgres(pg) as server:
        assert server.url == first
        assert "kept" in remembered(server.url)
        remember(server.restart(), "and more")
        assert server.url == first
        assert {"kept", "and more"} <= set(remembered(server.url))


def test_a_durable_server_syncs_and_a_throw_away_one_does_not(pg: Path, postgres: EmbeddedPostgres) -> None:
    with EmbeddedPostgres(pg) as durable:
        for server, expected in ((durable, "on"), (postgres, "off")):
            with psycopg.connect(server.url) as connection:
                for setting in ("fsync", "full_page_writes", "synchronous_commit"):
                    assert connection.execute(f"SHOW {setting}").fetchone() == (expected,), setting


def test_nobody_enters_without_the_password_which_only_its_owner_can_read(
    postgres: EmbeddedPostgres, server_folder: Path
) -> None:
    password = postgres.url.split(":")[2].split("@")[0]
    for wrong in ("", "wrong"):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(postgres.url.replace(password, wrong))
    for name in ("password", "log"):
        assert stat.S_IMODE((server_folder / "postgres" / name).stat().st_mode) == 0o600
    everything = [word for process in psutil.process_iter(["cmdline"]) for word in process.info["cmdline"] or []]
    assert not [word for word in everything if password in word]
    listening = {c.laddr.ip for c in psutil.Process(postgres.pid).net_connections() if c.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}


def test_a_killed_server_recovers_what_was_committed_on_the_same_port(pg: Path) -> None:
    with EmbeddedPostgres(pg) as server:
        url, pid = server.url, server.pid
        remember(url, "committed")
        backends = [process.pid for process in psutil.Process(pid).children()]
        server.kill()
        assert not server.running
        wait_gone(pid, *backends)
        assert server.start() == url
        assert server.pid != pid
        assert "committed" in remembered(url)


def test_two_folders_start_at_once_and_outlive_the_threads_that_started_them(folder: Path, pg: Path) -> None:
    servers = [EmbeddedPostgres(where, durable=False) for where in (folder / "pg", pg)]
    threads = [threading.Thread(target=server.start) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    try:
        assert len({server.url for server in servers}) == len(servers)
        for server in servers:
            remember(server.url, "alive")
            assert "alive" in remembered(server.url)
    finally:
        for server in servers:
            server.stop()


def test_a_folder_whose_owner_lives_is_refused_with_folder_and_process(pg: Path) -> None:
    with EmbeddedPostgres(pg, durable=False) as server:
        pid = server.pid
        with pytest.raises(FolderInUse) as refused:
            EmbeddedPostgres(pg).start()
        assert f"folder {pg} must have one owner at a time, got process {os.getpid()}" in str(refused.value)
        assert server.running
        assert server.pid == pid
    with EmbeddedPostgres(pg, durable=False) as server:
        assert server.running


def test_a_server_that_outlived_its_owner_is_stopped_first(pg: Path) -> None:
    with EmbeddedPostgres(pg) as server:
        remember(server.url, "written by the orphan's owner")
        told = psutil.Process(server.pid)
        argv, cwd, user = told.cmdline(), told.cwd(), as_user_of(told)
    orphan = subprocess.Popen(argv, cwd=cwd, stderr=subprocess.DEVNULL, start_new_session=True, **user)
    wait_until(lambda: "ready" in _pid_file(cwd))
    with EmbeddedPostgres(pg) as server:
        assert orphan.wait(PATIENCE) == 0
        assert "written by the orphan's owner" in remembered(server.url)


def as_user_of(process: psutil.Process) -> dict[str, Any]:
    """What makes a subprocess run as the user of that process."""
    account = {"user": process.uids().real, "group": process.gids().real, "extra_groups": []}
    return account if os.geteuid() == 0 else {}


def _pid_file(data: str) -> str:
    try:
        return (Path(data) / "postmaster.pid").read_text()
    except FileNotFoundError:
        return ""


def test_a_pid_file_with_the_number_of_another_process_is_no_obstacle(pg: Path) -> None:
    with EmbeddedPostgres(pg, durable=False) as server:
        who = psutil.Process(server.pid)
        pid_file = Path(who.cwd()) / "postmaster.pid"
        # Of the same user: PostgreSQL itself would refuse to start beside it.
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE, **as_user_of(who)) as other:
            server.kill()
            pid_file.write_text("\n".join([str(other.pid), *pid_file.read_text().splitlines()[1:], ""]))
            server.start()
            assert other.poll() is None


def test_an_owner_killed_at_each_moment_of_its_first_start_leaves_a_folder_that_starts(
    folder: Path, own: Callable[..., Owner]
) -> None:
    where = folder / "postgres"
    for moment in ("data.unfinished/data/global", "data", "data/postmaster.pid"):
        owner = own()
        wait_until((where / moment).exists, every=0.001, what=f"{moment} is there")
        owner.kill()
    with EmbeddedPostgres(where) as server:
        remember(server.url, "usable")
    assert not (where / "data.unfinished").exists()


def test_a_server_that_cannot_start_says_why_and_frees_the_folder(pg: Path) -> None:
    version = pg / "data/PG_VERSION"
    ours = version.read_text()
    version.write_text("9.6\n")
    try:
        for _ in range(2):
            with pytest.raises(ServerFailed, match=r"initialized by PostgreSQL version 9\.6"):
                EmbeddedPostgres(pg).start()
    finally:
        version.write_text(ours)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's servers run as somebody else")
def test_below_a_folder_closed_to_nobody_the_data_go_elsewhere_and_the_folder_stays_closed(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    with EmbeddedPostgres(closed / "pg") as server:
        data = Path(psutil.Process(server.pid).cwd())
        remember(server.url, "kept")
        server.restart()
        assert remembered(server.url) == ["kept"]
    assert closed not in data.parents
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    (closed / "pg").rename(closed / "old")
    with EmbeddedValkey(closed / "vk", durable=False):
        assert not data.exists(), "what belonged to a temporary folder must go once that is gone"
    shutil.rmtree((closed / "vk/data-place").read_text())


def test_a_developers_variables_for_libpq_do_not_keep_the_server_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in NONSENSE.items():
        monkeypatch.setenv(name, value)
    server = EmbeddedPostgres(tmp_path / "server", durable=False)
    server.start()
    server.stop()
    assert {name: os.environ.get(name) for name in NONSENSE} == NONSENSE, "they are the user's"
