"""Sessions: every connection is made here, and the settings that the ledger relies on are set and read back."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any, TypeAlias, TypeVar

import psycopg
from psycopg.rows import tuple_row

from sagaworker.errors import SagaworkerError

Connection: TypeAlias = psycopg.Connection[Any]
_Kind = TypeVar("_Kind", bound=Connection)


# The text form of values, so that psycopg's reading does not depend on settings of a database or a role.
FORM = {"client_encoding": "UTF8", "DateStyle": "ISO, MDY", "IntervalStyle": "postgres"}
# docs/protocol.md, rule 4. These time-outs end a statement that hangs; TCP detects a database host that vanished.
SESSION = FORM | {
    "lock_timeout": "5s",
    "statement_timeout": "10s",
    "idle_in_transaction_session_timeout": "10s",
    "default_transaction_isolation": "read committed",
    # Every statement here touches a few rows by primary key or partial index, so one generic plan serves all values. A
    # plan made while the tables were empty would scan whole tables until the next ANALYZE, so such plans are ruled out.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "TimeZone": "UTC",
}
MIGRATING = FORM | {"default_transaction_isolation": "read committed", "TimeZone": "UTC"}
# Keepalive ends a dead idle connection; with a statement in flight only the user timeout does (milliseconds).
_TCP = {
    "keepalives": "1",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "11000",
}
_SECRETS = ("password", "sslpassword")


class SessionRefused(SagaworkerError):
    """The database accepted the connection, but a ledger cannot work in such a session: `rule` was broken by `got`."""

    def __init__(self, rule: str, got: str, remedy: str) -> None:
        super().__init__(rule, got, remedy)
        self.rule = rule
        self.got = got
        self.remedy = remedy

    def __str__(self) -> str:
        return f"the database session must {self.rule}, got {self.got}\n{self.remedy}"


@contextlib.contextmanager
def closed_on_error(connection: Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise


def connect(
    kind: type[_Kind],
    parameters: dict[str, str],
    *,
    connect_timeout: int = 5,
    name: str = "sagaworker",
    **options: Any,
) -> _Kind:
    """Make a connection. Every connection of sagaworker comes from here."""
    theirs = parameters.get("connect_timeout", "")
    if theirs.isdigit() and int(theirs) > 0:
        connect_timeout = min(connect_timeout, int(theirs))
    asked: dict[str, Any] = {"application_name": name, **_TCP, **parameters}
    if "service" not in parameters and not os.environ.get("PGSERVICE"):
        asked.setdefault("options", "")  # keeps libpq from reading PGOPTIONS; a service may have its own options
    asked |= {"connect_timeout": connect_timeout, "client_encoding": "UTF8"}
    try:
        return kind.connect(autocommit=True, **asked, **options)
    except psycopg.Error as exc:
        said = str(exc)
        for secret in filter(None, map(parameters.get, _SECRETS)):
            said = said.replace(secret, "***")
        redacted = type(exc)(said)
    # A new exception without context: psycopg's own carries all connection parameters, the password too.
    raise redacted


def prove(connection: Connection, session: dict[str, str]) -> None:
    """Set the session's settings by a statement (a pooler drops settings in the connection string), and read them back."""
    encoding = connection.info.parameter_status("server_encoding")
    if encoding not in {None, "UTF8"}:
        raise SessionRefused("be of a database in UTF8", f"one in {encoding}", "create it with ENCODING 'UTF8'")
    made = ", ".join(f"pg_catalog.set_config('{name}', '{value}', false)" for name, value in session.items())
    held = ", ".join(f"pg_catalog.current_setting('{name}')" for name in session)
    with psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
        first = cursor.execute(f"SELECT pg_catalog.pg_backend_pid(), {made}".encode(), prepare=False).fetchone()
        second = cursor.execute(f"SELECT pg_catalog.pg_backend_pid(), {held}".encode(), prepare=False).fetchone()
    assert first is not None
    assert second is not None
    if first[0] != second[0]:
        raise is_shared()
    lost = [name for name, set_to, now in zip(session, first[1:], second[1:], strict=True) if set_to != now]
    if lost:
        raise SessionRefused(
            "keep what is set in it", f"one that lost {', '.join(lost)}", "connect to PostgreSQL itself"
        )


def is_shared() -> SessionRefused:
    return SessionRefused(
        "be ours from statement to statement",
        "a pooler's, in transaction mode",
        "set pool_mode = session for this database, or connect to PostgreSQL itself",
    )
