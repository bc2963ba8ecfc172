"""A private Valkey (Redis protocol): one folder, one owner, gone when the owner is gone, its data kept."""

from __future__ import annotations

import os
import signal

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from sagaworker.embedded.binaries import valkey_program
from sagaworker.embedded.folder import make_folder
from sagaworker.embedded.process import Account, ServerProcess
from sagaworker.embedded.server import EmbeddedServer


class EmbeddedValkey(EmbeddedServer):
    """Valkey on 127.0.0.1 in a folder of its own, with a password, for one owner process.

    As root it runs as `nobody`. It ends with the owner, killed or not, and a second start finds the data on the same
    port: acknowledged writes are in the append-only file (a crash of the machine may lose its last second).
    `durable=False` is for tests: nothing is kept. `url` leads to database 0.
    """

    _name = "Valkey"
    _process_names = frozenset({"valkey-server", "redis-server"})
    _endings = ((signal.SIGTERM, 15.0),)

    def _prepare(self, account: Account | None) -> None:
        data = self._data_place()
        make_folder(data, 0o700)
        if account is not None:
            os.chown(data, account.uid, account.gid)

    def _address(self, port: int) -> str:
        return f"redis://:{self._folder.password()}@127.0.0.1:{port}/0"

    def _launched(self, port: int, account: Account | None) -> ServerProcess:
        argv = [str(valkey_program(account)), "-"]  # The configuration is read from standard input.
        return ServerProcess(
            argv, death_signal=signal.SIGTERM, account=account, cwd=self._data_place(), log=self._folder.log(),
            config=self._config(port),
        )  # fmt: skip

    def _config(self, port: int) -> str:
        lines = [
            f"port {port}", "bind 127.0.0.1", f"requirepass {self._folder.password()}", "daemonize no",
            f"appendonly {'yes' if self._durable else 'no'}", 'save ""', "databases 16",
        ]  # fmt: skip
        return "\n".join([*lines, ""])

    def _answers(self, process: ServerProcess) -> bool:
        """Whether the server answers with its own process id: another server may have taken the port."""
        once = Retry(NoBackoff(), 0)  # The client's own retries would sleep, up to seconds.
        with redis.Redis.from_url(self._url, socket_connect_timeout=1, socket_timeout=1, retry=once) as client:
            try:
                return bool(client.info("server")["process_id"] == process.pid)
            except redis.RedisError:
                return False
