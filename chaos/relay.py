"""A TCP relay in front of the database that cuts connections in the middle: the question is lost, or only its answer."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from urllib.parse import urlsplit


class Relay:
    """Forwards bytes from its own port in its own thread. After `cut`, the next question on some connection is cut."""

    def __init__(self, database_url: str) -> None:
        split = urlsplit(database_url)
        self._server = (split.hostname or "127.0.0.1", split.port or 5432)
        self._loop = asyncio.new_event_loop()
        self._cuts: list[str] = []
        self.cut_lines = 0
        is_up = threading.Event()
        self._thread = threading.Thread(target=self._run, args=[is_up], name="relay", daemon=True)
        self._thread.start()
        is_up.wait()
        self.url = split._replace(netloc=split.netloc.rpartition("@")[0] + f"@127.0.0.1:{self._port}").geturl()

    def cut(self, draw: random.Random) -> None:
        """Cut the next connection that asks something."""
        self._loop.call_soon_threadsafe(self._cuts.append, draw.choice(["question", "answer"]))

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def _run(self, is_up: threading.Event) -> None:
        listener = self._loop.run_until_complete(asyncio.start_server(self._line, "127.0.0.1", 0))
        self._port = listener.sockets[0].getsockname()[1]
        is_up.set()
        self._loop.run_forever()

    async def _line(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        try:
            server, forth = await asyncio.open_connection(*self._server)
        except OSError:
            back.close()
            return
        is_hurt = asyncio.Event()
        answers = asyncio.ensure_future(self._answers(server, back, is_hurt))
        with contextlib.suppress(OSError):
            while chunk := await client.read(65536):
                what = self._cuts.pop() if self._cuts and not is_hurt.is_set() else ""
                if what:
                    self.cut_lines += 1
                    is_hurt.set()
                if what == "question":
                    break
                forth.write(chunk)
                await forth.drain()
                if what == "answer":
                    await asyncio.wait([answers], timeout=1)
                    break
        back.transport.abort()
        forth.transport.abort()

    @staticmethod
    async def _answers(server: asyncio.StreamReader, back: asyncio.StreamWriter, is_hurt: asyncio.Event) -> None:
        with contextlib.suppress(OSError):
            while chunk := await server.read(65536):
                if is_hurt.is_set():
                    break
                back.write(chunk)
                await back.drain()
        back.transport.abort()
