"""A target server for the tenants: a PostgreSQL apart from the ledger's, because roles belong to a whole server."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from sagaworker.embedded.postgres import EmbeddedPostgres
from tests.tenants.sagas import World, world


@dataclass(frozen=True)
class Target:
    """The target server: the admin's URL, the secret of the tenants, and what the server has logged."""

    url: str
    secret: str
    folder: Path
    admin: psycopg.Connection[Any]

    @property
    def environment(self) -> dict[str, str]:
        """What a worker needs to reach it."""
        return {"TENANTS_DATABASE_URL": self.url, "TENANT_SECRET": self.secret}

    def world(self, *tenants: str) -> World:
        """What is there of these tenants."""
        return world(self.admin, *tenants)

    def log(self) -> bytes:
        """All that the server wrote so far: every statement (log_statement = all)."""
        files = [path for path in self.folder.rglob("*") if path.is_file() and "log" in path.suffix + path.name]
        return b"\n".join(path.read_bytes() for path in files if "data" not in path.relative_to(self.folder).parts)

    def connect(self, **options: Any) -> psycopg.Connection[Any]:
        """Connect as the admin."""
        return psycopg.connect(self.url, autocommit=True, **options)


@contextmanager
def serve(folder: Path) -> Iterator[Target]:
    """Run such a server in this folder."""
    with (
        EmbeddedPostgres(folder, durable=False, database="admin") as server,
        psycopg.connect(server.url, autocommit=True) as admin,
    ):
        admin.execute("ALTER SYSTEM SET log_statement = 'all'")
        admin.execute("ALTER SYSTEM SET log_connections = 'on'")
        admin.execute("SELECT pg_reload_conf()")
        if admin.info.server_version >= 160000:
            # The admin logs in some thousand times here, with a proof of 4096 rounds each time by default.
            admin.execute("SET scram_iterations = 1")
            admin.execute(sql.SQL("ALTER ROLE CURRENT_USER PASSWORD {}").format(sql.Literal(admin.info.password)))
        yield Target(server.url, secrets.token_urlsafe(24), folder, admin)
