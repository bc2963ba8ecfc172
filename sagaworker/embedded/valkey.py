"""A private Valkey (Redis protocol): one folder, one owner, gone when the owner is gone, its data kept."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from sagaworker.embedded.binaries import valkey_program
from sagaworker.embedded.folder import ServerFolder, make_folder, port_is_free
from sagaworker.embedded.process import Account, ServerFailed, ServerProcess, end_all, log_tail, servers_in

_NAMES = frozenset({"valkey-server", "redis-server"})
_START_SECONDS = 60.0  # A long append-only file is read before the first answer.
_POLITE = (signal.SIGTERM, 15.0)


class EmbeddedValkey:
    """Valkey on 127.0.0.1 in a folder of its own, with a password, for one owner process.

    As root it runs as `nobody`. It ends with the owner, killed or not, and a second start finds the data on the same
    port: what was acknowledged is in the append-only file (a crash of the machine may lose its last second).
    `durable=False` is for tests: nothing is kept.
    """

    def __init__(self, folder: Path, durable: bool = True) -> None:  # noqa: FBT001, FBT002
        self._folder = ServerFolder(folder)
        self._durable = durable
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
        """Where the broker is, database 0, with the password in it."""
        self._started()
        return self._url

    def start(self) -> str:
        """Start, first making the data folder where missing; returns the URL. Running: the URL.

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
        """Stop, writing what is to be kept, and give the folder up; within 25 s, by force if need be."""
        if self._process is not None:
            self._process.stop(_POLITE)
            self._process = None
        self._folder.unlock()

    def kill(self) -> None:
        """SIGKILL the server, as a crash would; `start` brings it back on the same port."""
        self._started().stop()

    def restart(self) -> str:
        """Stop and start again on the same port; the folder is ours all the while."""
        self._started().stop(_POLITE)
        return self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _started(self) -> ServerProcess:
        if self._process is None:
            raise ServerFailed("Valkey", "a server that was not started", "call start() first")
        return self._process

    def _start(self) -> None:
        account = Account.for_servers(self._folder.path / "data")
        data = self._folder.data(account, durable=self._durable)
        if data.parent != self._folder.path:
            account = Account.for_servers(data)
        # The lock is ours, so whoever works in the data folder has lost its owner.
        end_all(servers_in(data, _NAMES), _POLITE)
        make_folder(data, 0o700)
        if account is not None:
            os.chown(data, account.uid, account.gid)
        argv = [str(valkey_program(account)), "-"]  # The configuration comes by standard input.
        for _ in range(5):
            port = self._folder.port()
            self._url = f"redis://:{self._folder.password()}@127.0.0.1:{port}/0"
            self._process = ServerProcess(
                argv, death_signal=signal.SIGTERM, account=account, cwd=data, log=self._folder.log(),
                config=self._config(port),
            )  # fmt: skip
            if self._ready():
                return
            if self._process.running or port_is_free(port):
                break
            # Somebody took the port between our look and the server's; the next round chooses another.
        raise ServerFailed("Valkey", "a server that did not get ready", log_tail(self._started().log))

    def _config(self, port: int) -> str:
        lines = [
            f"port {port}", "bind 127.0.0.1", f"requirepass {self._folder.password()}", "daemonize no",
            f"appendonly {'yes' if self._durable else 'no'}", 'save ""', "databases 16",
        ]  # fmt: skip
        return "\n".join([*lines, ""])

    def _ready(self) -> bool:
        """Wait for an answer to PING by the server we started; False when it ended or took too long."""
        process = self._started()
        deadline = time.monotonic() + _START_SECONDS
        once = Retry(NoBackoff(), 0)  # Its own retries sleep, up to seconds.
        with redis.Redis.from_url(self._url, socket_connect_timeout=1, socket_timeout=1, retry=once) as client:
            while time.monotonic() < deadline and not process.wait(0.01):
                try:
                    if client.info("server")["process_id"] == process.pid:
                        return True
                except redis.RedisError:
                    continue
        return False
