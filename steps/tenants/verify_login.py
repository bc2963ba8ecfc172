"""Log in as the tenant with the derived password, write and read in its schema, and declare the tenant ready.

Puts out `tenant_ready`. Until then other sagas refuse to suspend or offboard the tenant. There is nothing of its own to
undo: what it writes is gone when it commits, and the ready mark goes with the role.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psycopg
from psycopg import sql

from sagaworker import SagaState, StepFailed
from steps.tenants._server import COMPENSATE_RETRY, RETRY, TIMEOUT, Server, locked
from steps.tenants._tenant import Inputs, password_for

__all__ = ["COMPENSATE_RETRY", "RETRY", "TIMEOUT", "Inputs", "execute"]

_ADMIN_ONLY = frozenset(
    [
        "user",
        "dbname",
        "password",
        "passfile",
        "service",
        "options",
        "application_name",
        "sslcert",
        "sslkey",
        "sslpassword",
    ]
)


def execute(state: SagaState) -> SagaState:
    with locked(state) as server:
        _, mark = server.require_made_here()
        with _log_in(server) as tenant:
            _write_and_read(tenant, server.tenant.role, state.idempotency_key)
        if not mark.ready:
            server.write(replace(mark, ready=True))
        return state.put_output("tenant_ready", True)


@contextmanager
def _log_in(server: Server) -> Iterator[psycopg.Connection[Any]]:
    who = server.tenant
    parameters: dict[str, Any] = {
        k: v for k, v in server.connection.info.get_parameters().items() if k not in _ADMIN_ONLY
    }
    with psycopg.connect(
        **parameters, user=who.role, password=password_for(who.tenant, who.rotation), dbname=who.role,
        options="-c statement_timeout=30s -c lock_timeout=10s -c idle_in_transaction_session_timeout=8s",
    ) as connection:  # fmt: skip
        if not connection.pgconn.used_password:
            raise StepFailed(
                f"the server must ask role {who.role} for its password, got a login without one\n"
                "use scram-sha-256 in its pg_hba.conf; otherwise anybody logs in as any tenant"
            )
        yield connection


def _write_and_read(connection: psycopg.Connection[Any], schema: str, note: str) -> None:
    # One transaction that ends without the table: a crash at any line leaves nothing behind.
    table = sql.Identifier(schema, "sagaworker_login_check")
    connection.execute(sql.SQL("CREATE TABLE {} (note text NOT NULL)").format(table))
    connection.execute(sql.SQL("INSERT INTO {} (note) VALUES (%s)").format(table), [note])
    row = connection.execute(sql.SQL("SELECT note FROM {}").format(table)).fetchone()
    connection.execute(sql.SQL("DROP TABLE {}").format(table))
    connection.commit()
    if row != (note,):
        raise StepFailed(f"schema {schema} must give back what its tenant wrote, got {row!r}")
