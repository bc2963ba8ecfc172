"""One PostgreSQL and one Valkey for all measurements, in a folder that is removed afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql
from rich.console import Console

from sagaworker.embedded import EmbeddedPostgres, EmbeddedValkey

progress = Console(stderr=True)


@dataclass(frozen=True, slots=True)
class Mark:
    """A reading of the server's write-ahead log position and transaction counter."""

    wal_bytes: int
    commits: int


class Server:
    """The servers under test. The PostgreSQL URL is a superuser's; each measured party gets a database of its own."""

    def __init__(self, postgres_url: str, broker_url: str) -> None:
        self._postgres_url = postgres_url
        self._broker_url = broker_url
        self._admin = psycopg.connect(postgres_url, autocommit=True)

    def database(self, name: str) -> str:
        """Make an empty database and return its URL."""
        self._admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        self._admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self._url_of(name)

    def _url_of(self, name: str) -> str:
        return urlunsplit(urlsplit(self._postgres_url)._replace(path=f"/{name}"))

    def settle(self, name: str) -> None:
        """VACUUM (ANALYZE) and CHECKPOINT after a warm-up, which a server that has run for a while has done long ago.

        Otherwise autovacuum comes in the middle of the run, and plans change for the party that is measured then.
        """
        with psycopg.connect(self._url_of(name), autocommit=True) as connection:
            connection.execute("VACUUM (ANALYZE)")
            connection.execute("CHECKPOINT")

    def broker(self, number: int) -> str:
        """The URL of one of Valkey's numbered databases."""
        return urlunsplit(urlsplit(self._broker_url)._replace(path=f"/{number}"))

    def mark(self) -> Mark:
        """Read the counters. Their difference over a piece of work gives its WAL and its commits that wrote.

        Commits are counted as transaction ids handed out, so reads are not counted.
        """
        row = self._admin.execute(
            "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint, pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
        ).fetchone()
        assert row is not None
        return Mark(wal_bytes=row[0], commits=row[1])

    def settings(self) -> dict[str, str]:
        """The relevant settings of the server. Refuses a server that could lose commits."""
        names = [
            "server_version",
            "fsync",
            "synchronous_commit",
            "full_page_writes",
            "wal_sync_method",
            "shared_buffers",
        ]
        rows = self._admin.execute("SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", (names,)).fetchall()
        found: dict[str, str] = dict(rows)
        if found["fsync"] != "on" or found["synchronous_commit"] != "on":
            message = f"the measured server must be durable, got {found}\nset fsync = on and synchronous_commit = on"
            raise RuntimeError(message)
        return {name: found[name] for name in names}

    def close(self) -> None:
        """Close the administrator's connection."""
        self._admin.close()


@contextmanager
def running() -> Iterator[Server]:
    """Start both servers with their defaults, durable, and stop them on the way out."""
    with TemporaryDirectory(prefix="sagaworker-bench-") as folder:
        # Root's servers run as nobody, who must be able to enter: else their data go elsewhere, and stay there.
        Path(folder).chmod(0o711)
        postgres = EmbeddedPostgres(Path(folder) / "postgres", durable=True)
        valkey = EmbeddedValkey(Path(folder) / "valkey")
        try:
            server = Server(postgres.start(), valkey.start())
            try:
                yield server
            finally:
                server.close()
        finally:
            valkey.stop()
            postgres.stop()


def say(text: str) -> None:
    """One line of progress, on standard error so that `--json -` stays clean."""
    progress.print(f"[dim]{text}[/dim]")
