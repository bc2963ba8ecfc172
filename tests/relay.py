"""A TCP relay between the engine and PostgreSQL that can lose one question or one answer and cut the line."""

from __future__ import annotations

import contextlib
import socket
import threading
from urllib.parse import urlsplit


class Relay:
    """Forwards bytes. While `answering` is cleared, answers are held back.

    After `lose(what, after)`, question number `after` (from 0) or its answer is lost:

    "question": the question never reaches the server; "answer": the server's answer never reaches the client. Both
    connections are then cut, so the client knows only that its connection died.
    """

    def __init__(self, database_url: str) -> None:
        split = urlsplit(database_url)
        self._server = (split.hostname, split.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        netloc = split.netloc.rpartition("@")[0] + f"@127.0.0.1:{port}"
        self.url = split._replace(netloc=netloc).geturl()
        self._lock = threading.Lock()
        self._what = ""
        self._left = 0
        self.has_cut = False
        self.answering = threading.Event()
        self.answering.set()
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def lose(self, what: str, after: int) -> None:
        with self._lock:
            self._what, self._left, self.has_cut = what, after, False

    def close(self) -> None:
        self.answering.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._sockets:
            _cut(one)
        for thread in self._threads:
            thread.join(timeout=5)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._server)
            self._sockets += [client, server]
            dropping = threading.Event()
            for target, arguments in (
                (self._questions, (client, server, dropping)),
                (self._answers, (server, client, dropping)),
            ):
                thread = threading.Thread(target=target, args=arguments, daemon=True)
                self._threads.append(thread)
                thread.start()

    def _questions(self, client, server, dropping):
        with contextlib.suppress(OSError):
            while chunk := client.recv(65536):
                verdict = self._verdict()
                if verdict == "question":
                    break
                if verdict == "answer":
                    dropping.set()
                server.sendall(chunk)
        if not dropping.is_set():
            _cut(client)
            _cut(server)

    def _answers(self, server, client, dropping):
        with contextlib.suppress(OSError):
            while chunk := server.recv(65536):
                self.answering.wait()
                if dropping.is_set():
                    break
                client.sendall(chunk)
        _cut(client)
        _cut(server)

    def _verdict(self) -> str:
        with self._lock:
            if not self._what:
                return ""
            if self._left > 0:
                self._left -= 1
                return ""
            what, self._what, self.has_cut = self._what, "", True
            return what


def _cut(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
