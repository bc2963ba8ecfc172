"""The state of a tenant, read from the target server itself, not from the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg.conninfo import make_conninfo
from rich.table import Table
from rich.text import Text

from demo.cast import Part
from demo.wrong import Wrong
from sagaworker.console import render
from steps.tenants import password_for

_CONNECT = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenancy:
    """The parts of one tenant that exist."""

    tenant: str
    role: bool
    databases: int
    sessions: int
    logs_in: bool

    @property
    def is_gone(self) -> bool:
        return not (self.role or self.databases or self.sessions or self.logs_in)

    @property
    def is_whole(self) -> bool:
        return self.role and self.databases == 1 and self.logs_in


def check_rights(url: str) -> None:
    """Refuse a server on which tenants cannot be made.

    Raises:
        Wrong: the role lacks CREATEROLE or CREATEDB.
    """
    with psycopg.connect(url, connect_timeout=_CONNECT) as connection:
        row = connection.execute(
            "SELECT rolname, rolsuper OR (rolcreaterole AND rolcreatedb) FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
    if row is None or not row[1]:
        raise Wrong(
            f"the demo provisions tenants: role {row[0] if row else '?'} must have CREATEROLE and CREATEDB, got less\n"
            "name a server on which it may with TENANTS_DATABASE_URL"
        )


def tenancy(url: str, part: Part) -> Tenancy:
    """Ask the server about the tenant of a saga."""
    name = str(part.inputs["tenant"])
    role = f"tenant_{name}"
    like = [f"%{role}%"]
    with psycopg.connect(url, autocommit=True, connect_timeout=_CONNECT) as connection:
        roles, databases, sessions = (
            _count(connection.execute(query, like))
            for query in (
                "SELECT count(*) FROM pg_roles WHERE rolname LIKE %s",
                "SELECT count(*) FROM pg_database WHERE datname LIKE %s",
                "SELECT count(*) FROM pg_stat_activity WHERE usename LIKE %s",
            )
        )
    return Tenancy(
        tenant=name, role=roles > 0, databases=databases, sessions=sessions, logs_in=_logs_in(url, name, role)
    )


def tenancies_table(tenancies: Sequence[tuple[str, Tenancy]]) -> Table:
    """A table of the tenants: what was done with each, and which parts exist."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bright_black", pad_edge=False)
    for heading in ("tenant", "what was done", "role", "database", "logs in"):
        table.add_column(heading, no_wrap=True)
    for done, found in tenancies:
        table.add_row(found.tenant, done, _yes(found.role), _yes(found.databases > 0), _yes(found.logs_in))
    return table


def _yes(is_so: bool) -> Text:  # noqa: FBT001 - the value itself
    return Text("yes", style=render.COLOURS["completed"]) if is_so else Text("none", style="bright_black")


def _count(cursor: psycopg.Cursor[tuple[int]]) -> int:
    row = cursor.fetchone()
    return row[0] if row else 0


def _logs_in(url: str, tenant: str, role: str) -> bool:
    as_tenant = make_conninfo(url, user=role, password=password_for(tenant), dbname=role, connect_timeout=_CONNECT)
    try:
        with psycopg.connect(as_tenant) as connection:
            return connection.execute("SELECT current_user").fetchone() == (role,)
    except psycopg.OperationalError:
        return False
