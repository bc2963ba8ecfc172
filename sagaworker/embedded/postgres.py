"""A private PostgreSQL: one folder, one owner, gone when the owner is gone, its data kept."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path
from typing import Self

import psycopg
from psycopg import sql

from sagaworker.embedded.binaries import postgres_programs
from sagaworker.embedded.folder import ServerFolder, make_folder, port_is_free
from sagaworker.embedded.process import (
    Account,
    ServerFailed,
    ServerProcess,
    end_all,
    log_tail,
    server_env,
    servers_in,
    spawn,
)

_NAMES = frozenset({"postgres"})
_USER = "sagaworker"
_UNFINISHED = "data.unfinished"
_STATE_LINE = 8
_START_SECONDS = 60.0  # Crash recovery of a large write-ahead log comes before "ready".
# SIGINT is PostgreSQL's fast shutdown, SIGQUIT its immediate one (recovers at the next start).
_FAST = (signal.SIGINT, 15.0)
_IMMEDIATE = (signal.SIGQUIT, 5.0)
# Fast and repeatable rather than safe: no vacuum changes a plan or holds a database that is to be copied.
_THROW_AWAY = {
    "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off",
    "wal_level": "minimal", "max_wal_senders": "0", "max_connections": "200",
}  # fmt: skip


class EmbeddedPostgres:
    """PostgreSQL on 127.0.0.1 in a folder of its own, for one owner process.

    As root it runs as `nobody` (or as the owner of data that are there). It ends with the owner, killed or not, and a
    second start finds the data on the same port. `durable=False` is for tests: a crash of the machine loses data.

    >>> with EmbeddedPostgres(Path(".sagaworker/postgres")) as server:  # doctest: +SKIP
    ...     print(server.url)
    postgresql://sagaworker:...@127.0.0.1:21734/sagaworker
    """

    def __init__(self, folder: Path, durable: bool = True, *, database: str = "sagaworker") -> None:  # noqa: FBT001, FBT002
        self._folder = ServerFolder(folder)
        self._durable = durable
        self._database = database
        self._process: ServerProcess | None = None
        self._data: Path | None = None
        self._url = ""

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.running

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        return self._started().pid

    @property
    def url(self) -> str:
        """Where the database is, with the password in it."""
        self._started()
        return self._url

    def url_of(self, database: str) -> str:
        """The same server and user, another database."""
        return f"{self.url.rpartition('/')[0]}/{database}"

    def start(self) -> str:
        """Start, first making the data folder and the database where missing; returns the URL. Running: the URL.

        Raises:
            FolderInUse: another live process owns the folder.
            ServerFailed: it could not be started; the end of its log is in the message.
        """
        if self.running:
            return self._url
        if not self._folder.locked:
            self._folder.lock()
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self._url

    def stop(self) -> None:
        """Stop as `pg_ctl stop -m fast` does and give the folder up; within 30 s, by force if need be."""
        if self._process is not None:
            self._process.stop(_FAST, _IMMEDIATE)
            self._process = None
        if self._data is not None:
            end_all(servers_in(self._data, _NAMES))
        self._folder.unlock()

    def kill(self) -> None:
        """SIGKILL every process of the server at once, as a crash would; `start` recovers it on the same port."""
        process = self._started()
        end_all(servers_in(self._data_place(), _NAMES))
        process.wait(10.0)

    def restart(self) -> str:
        """Stop and start again on the same port; the folder is ours all the while."""
        self._started().stop(_FAST, _IMMEDIATE)
        return self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _started(self) -> ServerProcess:
        if self._process is None:
            raise ServerFailed("PostgreSQL", "a server that was not started", "call start() first")
        return self._process

    def _data_place(self) -> Path:
        if self._data is None:
            raise ServerFailed("PostgreSQL", "a server that was not started", "call start() first")
        return self._data

    def _start(self) -> None:
        account = Account.for_servers(self._folder.path / "data")
        self._data = self._folder.data(account, durable=self._durable)
        if self._data.parent != self._folder.path:
            account = Account.for_servers(self._data)
        # The lock is ours, so whoever works in the data folder has lost its owner.
        end_all(servers_in(self._data, _NAMES), _FAST, _IMMEDIATE)
        if servers_in(self._data, _NAMES):
            raise ServerFailed("PostgreSQL", f"a server that cannot be ended in {self._data}")
        # PostgreSQL would refuse to start if the number in it had been given to another process meanwhile.
        (self._data / "postmaster.pid").unlink(missing_ok=True)
        programs = postgres_programs(account)
        self._forget_unfinished()
        if not self._data.exists():
            self._initialise(programs, account)
        port = self._run(programs, account)
        password = self._folder.password()
        self._url = f"postgresql://{_USER}:{password}@127.0.0.1:{port}/{self._database}"
        self._make_database()

    def _initialise(self, programs: Path, account: Account | None) -> None:
        data = self._data_place()
        # Renamed when complete: a data folder that is there is whole, whenever we are killed.
        fresh = data.with_name(_UNFINISHED)
        make_folder(fresh, 0o700)
        try:
            word, made = fresh / "password", fresh / "data"
            word.touch(mode=0o600)
            word.write_text(self._folder.password())
            made.mkdir(mode=0o700)
            if account is not None:
                for path in (fresh, word, made):
                    os.chown(path, account.uid, account.gid)
            self._initdb(programs, account, made, word)
            made.rename(data)
        finally:
            self._forget_unfinished()

    def _forget_unfinished(self) -> None:
        fresh = self._data_place().with_name(_UNFINISHED)
        if fresh.exists():
            # initdb itself goes with its owner; the server that it feeds is not told.
            end_all(servers_in(fresh / "data", _NAMES))
            shutil.rmtree(fresh)

    def _initdb(self, programs: Path, account: Account | None, made: Path, word: Path) -> None:
        argv = [
            str(programs / "initdb"), "--pgdata", str(made), "--username", _USER, "--pwfile", str(word),
            "--auth", "scram-sha-256", "--encoding", "UTF8", "--no-locale", *([] if self._durable else ["--no-sync"]),
        ]  # fmt: skip
        log = self._folder.log()
        with log.open("wb") as out:
            # Waited for here, so the thread that starts it lives on.
            initdb = spawn(argv, death_signal=signal.SIGKILL, env=server_env(), account=account, cwd=made, stdout=out)
            initdb.wait()
        if initdb.returncode != 0:
            raise ServerFailed("PostgreSQL", f"exit status {initdb.returncode} from initdb", log_tail(log))

    def _run(self, programs: Path, account: Account | None) -> int:
        data = self._data_place()
        for _ in range(5):
            port = self._folder.port()
            settings = {"listen_addresses": "127.0.0.1", "port": str(port), "unix_socket_directories": ""}
            settings |= {} if self._durable else _THROW_AWAY
            argv = [str(programs / "postgres"), "-D", str(data)]
            for name, value in settings.items():
                argv += ["-c", f"{name}={value}"]
            self._process = ServerProcess(
                argv, death_signal=signal.SIGINT, account=account, cwd=data, log=self._folder.log()
            )
            if self._ready():
                return port
            if self._process.running or port_is_free(port):
                break
            # Somebody took the port between our look and the server's; the next round chooses another.
        raise ServerFailed("PostgreSQL", "a server that did not get ready", log_tail(self._started().log))

    def _ready(self) -> bool:
        """Wait for the server's own word in its pid file; False when it ended or took too long."""
        process = self._started()
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and not process.wait(0.01):
            try:
                lines = (self._data_place() / "postmaster.pid").read_text().splitlines()
            except FileNotFoundError:
                continue
            # The eighth line is the state; the file of a run before would carry another pid.
            if len(lines) >= _STATE_LINE and lines[0] == str(process.pid) and lines[_STATE_LINE - 1].strip() == "ready":
                return True
        return False

    def _make_database(self) -> None:
        try:
            with psycopg.connect(self.url_of("postgres"), autocommit=True, connect_timeout=10) as connection:
                found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [self._database]).fetchone()
                if found is None:
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(self._database)))
        except psycopg.OperationalError as problem:
            raise ServerFailed(
                "PostgreSQL", str(problem).strip(), f"its password is in {self._folder.path / 'password'}"
            ) from problem
