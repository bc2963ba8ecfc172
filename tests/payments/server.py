"""A payment service over HTTP, in a process of its own, with a journal that survives whoever is killed.

    python -m tests.payments.server JOURNAL

Prints its port. POST /charges charges `cents` for a `reference`; with a `key` at most once a key, without one each time.
GET /charges?reference=... lists what there is. Each charge is appended and synced before it is answered.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit


class Charges:
    """All charges, in memory and in the journal."""

    def __init__(self, journal: Path) -> None:
        self._journal = os.open(journal, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        self._lock = threading.Lock()
        self._all: list[dict] = []

    def charge(self, request: dict) -> dict:
        with self._lock:
            known = next((one for one in self._all if request["key"] and one["key"] == request["key"]), None)
            if known is not None:
                return known
            charge = {"id": f"ch_{len(self._all)}", **request}
            os.write(self._journal, (json.dumps(charge) + "\n").encode())
            os.fsync(self._journal)
            self._all.append(charge)
            return charge

    def of(self, reference: str) -> list[dict]:
        with self._lock:
            return [one for one in self._all if one["reference"] == reference]


class Handler(BaseHTTPRequestHandler):
    charges: Charges

    def do_POST(self) -> None:
        self._answer(self.charges.charge(json.loads(self.rfile.read(int(self.headers["Content-Length"])))))

    def do_GET(self) -> None:
        self._answer(self.charges.of(parse_qs(urlsplit(self.path).query)["reference"][0]))

    def _answer(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """The journal says it."""


if __name__ == "__main__":
    Handler.charges = Charges(Path(sys.argv[1]))
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        print(server.server_port, flush=True)
        server.serve_forever()
