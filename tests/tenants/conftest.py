"""A target server for the tenants: a PostgreSQL apart from the ledger's, because roles belong to a whole server."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from sagaworker.embedded.postgres import EmbeddedPostgres
from tests.tenants.killed import Killer, killer
from tests.tenants.sagas import World, sweep_away, world


@dataclass(frozen=True)
class Target:
    """The target server: the admin's URL, the secret of the tenants, and what the server has logged."""

    url: str
    secret: str
    folder: Path
    admin: psycopg.Connection[Any]

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


@pytest.fixture(scope="session")
def target_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("target")
    with (
        EmbeddedPostgres(folder, durable=False, database="admin") as server,
        psycopg.connect(server.url, autocommit=True) as admin,
        pytest.MonkeyPatch.context() as environment,
    ):
        admin.execute("ALTER SYSTEM SET log_statement = 'all'")
        admin.execute("ALTER SYSTEM SET log_connections = 'on'")
        admin.execute("SELECT pg_reload_conf()")
        if admin.info.server_version >= 160000:
            # The admin logs in some thousand times here, with a proof of 4096 rounds each time by default.
            admin.execute("SET scram_iterations = 1")
            admin.execute(sql.SQL("ALTER ROLE CURRENT_USER PASSWORD {}").format(sql.Literal(admin.info.password)))
        target = Target(server.url, secrets.token_urlsafe(24), folder, admin)
        environment.setenv("TENANTS_DATABASE_URL", target.url)
        environment.setenv("TENANT_SECRET", target.secret)
        yield target


@pytest.fixture
def target(target_server: Target) -> Iterator[Target]:
    """The target server; every tenant a test leaves there is removed."""
    yield target_server
    sweep_away(target_server.admin)


@pytest.fixture(scope="session")
def deadly(target_server: Target) -> Iterator[Killer]:
    with killer() as process:
        yield process
