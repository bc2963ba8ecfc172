"""A private PostgreSQL: one folder, one owner, gone when the owner is gone, its data kept."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import psycopg
from psycopg import sql

from sagaworker.embedded.binaries import postgres_programs
from sagaworker.embedded.folder import make_folder
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
from sagaworker.embedded.server import EmbeddedServer
from sagaworker.ledger import variables

_USER = "sagaworker"
_UNFINISHED = "data.unfinished"
_STATE_LINE = 8
# Fast and repeatable rather than safe: no vacuum changes a plan or blocks the copy of a database.
_THROW_AWAY = {
    "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off",
    "wal_level": "minimal", "max_wal_senders": "0", "max_connections": "200",
}  # fmt: skip


class EmbeddedPostgres(EmbeddedServer):
    """PostgreSQL on 127.0.0.1 in a folder of its own, for one owner process.

    As root it runs as `nobody` (or as the owner of existing data). It ends with the owner, killed or not, and a
    second start finds the data on the same port. `durable=False` is for tests: a crash of the machine loses data.

    >>> with EmbeddedPostgres(Path(".sagaworker/postgres")) as server:  # doctest: +SKIP
    ...     print(server.url)
    postgresql://sagaworker:...@127.0.0.1:21734/sagaworker
    """

    _name = "PostgreSQL"
    _process_names = frozenset({"postgres"})
    # SIGINT is PostgreSQL's fast shutdown, SIGQUIT its immediate one (recovers at the next start).
    _endings = ((signal.SIGINT, 15.0), (signal.SIGQUIT, 5.0))

    def __init__(self, folder: Path, durable: bool = True, *, database: str = "sagaworker") -> None:  # noqa: FBT001, FBT002
        super().__init__(folder, durable)
        self._database = database
        self._programs = Path()

    def url_of(self, database: str) -> str:
        """The same server and user, another database."""
        return f"{self.url.rpartition('/')[0]}/{database}"

    def _prepare(self, account: Account | None) -> None:
        data = self._data_place()
        if servers_in(data, self._process_names):
            raise ServerFailed(self._name, f"a server that cannot be ended in {data}")
        # PostgreSQL would refuse to start if another process now had the number in this file.
        (data / "postmaster.pid").unlink(missing_ok=True)
        self._programs = postgres_programs(account)
        self._forget_unfinished()
        if not data.exists():
            self._initialise(account)

    def _address(self, port: int) -> str:
        return f"postgresql://{_USER}:{self._folder.password()}@127.0.0.1:{port}/{self._database}"

    def _launched(self, port: int, account: Account | None) -> ServerProcess:
        data = self._data_place()
        argv = [str(self._programs / "postgres"), "-D", str(data)]
        for name, value in self._settings(port).items():
            argv += ["-c", f"{name}={value}"]
        return ServerProcess(argv, death_signal=signal.SIGINT, account=account, cwd=data, log=self._folder.log())

    def _settings(self, port: int) -> dict[str, str]:
        settings = {"listen_addresses": "127.0.0.1", "port": str(port), "unix_socket_directories": ""}
        return settings | ({} if self._durable else _THROW_AWAY)

    def _answers(self, process: ServerProcess) -> bool:
        """Whether the server says `ready` in its pid file."""
        try:
            lines = (self._data_place() / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        # The eighth line is the state; the file of an earlier run would have another pid.
        return len(lines) >= _STATE_LINE and lines[0] == str(process.pid) and lines[_STATE_LINE - 1].strip() == "ready"

    def _complete(self) -> None:
        try:
            with (
                variables.forgotten(),  # PGSERVICE and PGTZ would override the arguments given here
                psycopg.connect(self.url_of("postgres"), autocommit=True, connect_timeout=10) as connection,
            ):
                found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [self._database]).fetchone()
                if found is None:
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(self._database)))
        except psycopg.OperationalError as problem:
            raise ServerFailed(
                self._name, str(problem).strip(), f"its password is in {self._folder.path / 'password'}"
            ) from problem

    def _initialise(self, account: Account | None) -> None:
        data = self._data_place()
        # Renamed when complete: an existing data folder is whole, whenever we are killed.
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
            self._initdb(account, made, word)
            made.rename(data)
        finally:
            self._forget_unfinished()

    def _forget_unfinished(self) -> None:
        fresh = self._data_place().with_name(_UNFINISHED)
        if fresh.exists():
            # initdb ends with its owner; the server that it has started may not.
            end_all(servers_in(fresh / "data", self._process_names))
            shutil.rmtree(fresh)

    def _initdb(self, account: Account | None, made: Path, word: Path) -> None:
        argv = [
            str(self._programs / "initdb"), "--pgdata", str(made), "--username", _USER, "--pwfile", str(word),
            "--auth", "scram-sha-256", "--encoding", "UTF8", "--no-locale", *([] if self._durable else ["--no-sync"]),
        ]  # fmt: skip
        log = self._folder.log()
        with log.open("wb") as out:
            # This thread waits, so it lives as long as the child (see `spawn`).
            initdb = spawn(argv, death_signal=signal.SIGKILL, env=server_env(), account=account, cwd=made, stdout=out)
            initdb.wait()
        if initdb.returncode != 0:
            raise ServerFailed(self._name, f"exit status {initdb.returncode} from initdb", log_tail(log))
