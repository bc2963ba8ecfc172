"""The base of every embedded server: one folder, one owner, a port that stays, and an end with its owner."""

from __future__ import annotations

import signal
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Self

from sagaworker.embedded.folder import ServerFolder, port_is_free
from sagaworker.embedded.process import Account, ServerFailed, ServerProcess, end_all, log_tail, servers_in

_START_SECONDS = 60.0  # Recovery from a long log comes before the first answer.
_PORTS_TRIED = 5


class EmbeddedServer(ABC):
    """A server on 127.0.0.1 in a folder of its own, for one owner process.

    It ends with the owner, killed or not, and a second start finds the data on the same port.
    """

    _name: ClassVar[str]
    _process_names: ClassVar[frozenset[str]]
    _endings: ClassVar[tuple[tuple[signal.Signals, float], ...]]  # Signals of the polite end, with seconds to wait.

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
        """Where the server is, with the password in it."""
        self._started()
        return self._url

    def start(self) -> str:
        """Make what is missing, start the server, and return its URL. Of a running server, just return the URL.

        Raises:
            FolderInUse: another live process owns the folder.
            ServerFailed: it could not be started; the end of its log is in the message.
        """
        if self.running:
            return self._url
        if not self._folder.locked:
            self._folder.lock()
        try:
            account = self._settled()
            self._prepare(account)
            self._run(account)
            self._complete()
        except BaseException:
            self.stop()
            raise
        return self._url

    def stop(self) -> None:
        """Stop, writing the data that are kept, and give the folder up; within 30 s, by force if need be."""
        if self._process is not None:
            self._process.stop(*self._endings)
            self._process = None
        if self._data is not None:
            end_all(servers_in(self._data, self._process_names))
        self._folder.unlock()

    def kill(self) -> None:
        """SIGKILL every process of the server at once, as a crash would; `start` recovers it on the same port."""
        process = self._started()
        end_all(servers_in(self._data_place(), self._process_names))
        process.stop()

    def restart(self) -> str:
        """Stop and start again on the same port; the folder is ours all the while."""
        self._started().stop(*self._endings)
        return self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- for each server to define -------------------------------------------------------------------------------------

    @abstractmethod
    def _prepare(self, account: Account | None) -> None:
        """Make the data folder where it is missing. No server works in it."""

    @abstractmethod
    def _launched(self, port: int, account: Account | None) -> ServerProcess:
        """Start the server on this port."""

    @abstractmethod
    def _address(self, port: int) -> str:
        """The URL of the server on this port."""

    @abstractmethod
    def _answers(self, process: ServerProcess) -> bool:
        """Whether the server we started is ready."""

    def _complete(self) -> None:  # noqa: B027 - most servers need no more
        """Make what can only be made once the server is ready."""

    # ------------------------------------------------------------------------------------------------------------------

    def _started(self) -> ServerProcess:
        if self._process is None:
            raise ServerFailed(self._name, "a server that was not started", "call start() first")
        return self._process

    def _data_place(self) -> Path:
        if self._data is None:
            raise ServerFailed(self._name, "a server that was not started", "call start() first")
        return self._data

    def _settled(self) -> Account | None:
        """Choose the data's folder and the server's account; end every process that still works in the data."""
        account = Account.for_servers(self._folder.path / "data")
        self._data = self._folder.data(account, durable=self._durable)
        if self._data.parent != self._folder.path:
            account = Account.for_servers(self._data)
        # The lock is ours, so a server in the data folder has lost its owner.
        end_all(servers_in(self._data, self._process_names), *self._endings)
        return account

    def _run(self, account: Account | None) -> None:
        for _ in range(_PORTS_TRIED):
            port = self._folder.port()
            self._url = self._address(port)
            self._process = self._launched(port, account)
            if self._ready(self._process):
                return
            if self._process.running or port_is_free(port):
                break
            # Another process took the port between our look and the server's; the next round chooses another port.
        raise ServerFailed(self._name, "a server that did not get ready", log_tail(self._started().log))

    def _ready(self, process: ServerProcess) -> bool:
        """Wait for the answer of the server we started; False when it ended or took too long."""
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and not process.wait(0.01):
            if self._answers(process):
                return True
        return False
