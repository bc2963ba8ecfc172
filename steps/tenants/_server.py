"""The target server: one locked admin session a step, and the mark by which a tenant's saga knows what is its own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from sagaworker import RetryPolicy, SagaState, StepFailed
from steps.tenants._tenant import Inputs, tenant_of

# Retried: the server was not there, the tenant is locked by a dying session, a database is still in use. A refusal
# (StepFailed) and a programming error are not.
RETRY: Final = RetryPolicy(max_attempts=5, base=0.5, factor=2, retry_on=(psycopg.OperationalError, TimeoutError))
# An undo outlasts a restart of the target server: the waits add up to some eight minutes.
COMPENSATE_RETRY: Final = RetryPolicy(
    max_attempts=10, base=1, factor=2, max_delay=300, retry_on=(psycopg.Error, TimeoutError)
)
TIMEOUT: Final = 60

_CONNECT_SECONDS = 5
_END_SECONDS = 5
_INVALID = -2  # pg_database.datconnlimit of a database whose DROP was interrupted (PostgreSQL 15.4 and later)
_SESSION = (
    "-c statement_timeout=30s -c lock_timeout=10s"
    # The server ends the session of a paused worker, so what wakes up late has no session left to do harm with. Below
    # the grace of ten seconds after which a doubted step may be undone.
    " -c idle_session_timeout=8s -c idle_in_transaction_session_timeout=8s"
    # A tenant owns its database and may define what it likes in it; the admin must not resolve a name there.
    " -c search_path=pg_catalog"
)
_MARK = "sagaworker tenant "
_BY_HAND = "somebody who set NOLOGIN by hand"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The comment on a tenant's role: who made it and who closed it. It changes in one transaction with the role.

    It says whose the database is as well: CREATE DATABASE knows no transaction, but the database is born owned by the
    marked role, and a role that owns a database cannot be dropped.

    Attributes:
        made_by: the saga that created the role; only its undo drops it. ready: that saga has logged in as the tenant.
        by, fence: the saga that wrote last and its fence; an earlier episode of that saga is refused.
        suspended_by, resumed_by, leaving_by: the sagas that did that, or None.
    """

    tenant: str
    made_by: str
    by: str
    fence: int
    ready: bool = False
    suspended_by: str | None = None
    resumed_by: str | None = None
    leaving_by: str | None = None

    @property
    def suspended(self) -> bool:
        return self.suspended_by is not None and self.resumed_by is None

    @property
    def open(self) -> bool:
        """Whether the tenant may log in."""
        return self.leaving_by is None and not self.suspended

    def text(self) -> str:
        return _MARK + json.dumps(asdict(self))

    @classmethod
    def parse(cls, text: str | None, tenant: str) -> Mark | None:
        """The mark in a comment, or None when it is another comment or another tenant's."""
        try:
            found = json.loads(text.removeprefix(_MARK)) if text and text.startswith(_MARK) else None
        except ValueError:
            return None
        if not isinstance(found, dict) or found.keys() != {each.name for each in fields(cls)}:
            return None
        return cls(**found) if found["tenant"] == tenant and isinstance(found["fence"], int) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """A role as it is on the server; `mark` is None when it is not ours."""

    oid: int
    mark: Mark | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """An admin session that holds the tenant's lock. Each statement commits, unless in `connection.transaction()`."""

    connection: psycopg.Connection[Any]
    tenant: Inputs
    state: SagaState = field(repr=False)

    def run(self, statement: LiteralString, **names: str) -> None:
        """Execute one statement with `{name}` replaced by that identifier."""
        self.connection.execute(sql.SQL(statement).format(**{k: sql.Identifier(v) for k, v in names.items()}))

    def role(self) -> Role | None:
        """The tenant's role, whoever made it, or None."""
        row = self.connection.execute(
            "SELECT oid, rolcanlogin, shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = %s",
            [self.tenant.role],
        ).fetchone()
        if row is None:
            return None
        oid, may_log_in, comment = row
        mark = Mark.parse(comment, self.tenant.tenant)
        if mark is not None:
            if mark.by == self.state.saga_id and mark.fence > self.state.fence:
                raise StepFailed(
                    f"fence {self.state.fence} of saga {mark.by} must be its latest for tenant {mark.tenant},"
                    f" got {mark.fence} on the server\nstop: another worker goes on with this saga"
                )
            if mark.open and not may_log_in:
                # Not ours to undo: take it for a suspension, so that nothing but `resume` opens the tenant again.
                mark = replace(mark, suspended_by=_BY_HAND, resumed_by=None)
        return Role(oid=oid, mark=mark)

    def made_here(self) -> tuple[int, Mark] | None:
        """The role and its mark if this saga made it, else None. Leaves this attempt's fence in the mark."""
        role = self.role()
        if role is None or role.mark is None or role.mark.made_by != self.state.saga_id:
            return None
        mark = role.mark
        if (mark.by, mark.fence) != (self.state.saga_id, self.state.fence):
            mark = self.write(mark)
        return role.oid, mark

    def require_made_here(self) -> tuple[int, Mark]:
        """As `made_here`; refuses when the role is absent or another's."""
        found = self.made_here()
        if found is None:
            raise StepFailed(
                f"role {self.tenant.role} must have been made by saga {self.state.saga_id}, got none of that kind\n"
                "put steps.tenants.create_role before this step in the list"
            )
        return found

    def require_settled(self) -> tuple[int, Mark]:
        """The role and mark of a tenant whose provisioning is over and which no other saga is offboarding."""
        role, name = self.role(), self.tenant.tenant
        mark = role.mark if role is not None else None
        if role is None or mark is None:
            got = "none" if role is None else f"a role {self.tenant.role} that sagaworker did not make"
            raise StepFailed(f"tenant {name} must have been provisioned, got {got}\nprovision it first")
        if not mark.ready:
            raise StepFailed(
                f"tenant {name} must be ready, got its provisioning by saga {mark.made_by} unfinished\n"
                "wait until that saga is over"
            )
        if mark.leaving_by not in (None, self.state.saga_id):
            raise StepFailed(
                f"tenant {name} must not be leaving, got saga {mark.leaving_by} offboarding it\n"
                "see what became of that saga"
            )
        return role.oid, mark

    def leaving(self) -> int | None:
        """The role's oid if this saga closed the tenant; None if that tenant is gone, whoever has its name by now."""
        role = self.role()
        if role is None:
            return None
        mark = role.mark
        if mark is not None and mark.leaving_by == self.state.saga_id:
            return role.oid
        # This saga may have dropped the role, died, and the name was provisioned anew before it came back.
        maker = self.state.get_output("tenant_made_by")
        if mark is not None and maker is not None and mark.made_by != maker:
            return None
        raise StepFailed(
            f"tenant {self.tenant.tenant} must have been closed by saga {self.state.saga_id}, got it not so marked\n"
            "put steps.tenants.close first in the list"
        )

    def write(self, mark: Mark) -> Mark:
        """Set the mark, and with it, in one transaction, whether the role may log in."""
        mark = replace(mark, by=self.state.saga_id, fence=self.state.fence)
        with self.connection.transaction():
            if mark.open:
                self.run("ALTER ROLE {role} LOGIN", role=self.tenant.role)
            else:
                self.run("ALTER ROLE {role} NOLOGIN", role=self.tenant.role)
            self.comment(mark)
        return mark

    def comment(self, mark: Mark) -> None:
        """Write the mark alone, for a transaction that sets the role itself."""
        self.connection.execute(
            sql.SQL("COMMENT ON ROLE {} IS {}").format(sql.Identifier(self.tenant.role), sql.Literal(mark.text()))
        )

    def is_superuser(self) -> bool:
        row = self.connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
        return bool(row and row[0])

    def owner_of(self, database: str) -> int | None:
        """Oid of the role that owns the database, or None when there is no such database."""
        row = self.connection.execute("SELECT datdba FROM pg_database WHERE datname = %s", [database]).fetchone()
        return None if row is None else int(row[0])

    def is_invalid(self, database: str) -> bool:
        """Whether a DROP DATABASE was interrupted: such a database can only be dropped again."""
        found = self.connection.execute(
            "SELECT 1 FROM pg_database WHERE datname = %s AND datconnlimit = %s", [database, _INVALID]
        )
        return found.fetchone() is not None

    def end_sessions(self, *, role: int | None = None, database: str | None = None) -> None:
        """End the client sessions of a role, or in a database, and wait for it.

        Raises:
            TimeoutError: some are still there; what was ended stays ended.
        """
        where: LiteralString = "(usesysid = %(role)s::oid OR datname = %(database)s) AND pid <> pg_backend_pid()"
        where += " AND backend_type IN ('client backend', 'walsender')"
        values = {"role": role, "database": database, "wait": _END_SECONDS * 1000}
        self.connection.execute(
            "SELECT pg_terminate_backend(pid, %(wait)s) FROM pg_stat_activity WHERE " + where,  # noqa: S608 - ours
            values,
        )
        left = self.connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE " + where,  # noqa: S608 - ours
            values,
        ).fetchone()
        if left and left[0]:
            raise TimeoutError(
                f"sessions of tenant {self.tenant.tenant} must end within {_END_SECONDS} s, got {left[0]} still open"
            )


@contextmanager
def locked(state: SagaState, *, database: str | None = None) -> Iterator[Server]:
    """Open an admin session for one step, holding the lock of the saga's tenant until the session ends.

    The lock outlives the worker: a statement in flight when its worker is killed keeps it until the statement is over,
    so an undo never looks before a late CREATE has landed. It is a session-level advisory lock of the database the URL
    names (or `database`); every worker must use the same one, and no transaction pooler.

    Raises:
        StepFailed: inputs or environment are not legal, or the attempt's deadline has passed. Nothing was done.
        psycopg.OperationalError: the server cannot be reached, or the lock is still held after 10 s. Nothing was done.
    """
    tenant = tenant_of(state)
    parameters = _admin_parameters()
    parameters["options"] = f"{parameters.get('options', '')} {_SESSION}".strip()
    parameters.setdefault("connect_timeout", _CONNECT_SECONDS)
    parameters["application_name"] = f"sagaworker {state.idempotency_key}"[:63]
    if database is not None:
        parameters["dbname"] = database
    with psycopg.connect(autocommit=True, **parameters) as connection:
        connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [f"sagaworker tenant {tenant.tenant}"])
        if state.deadline is not None:
            _refuse_after(state, connection)
        yield Server(connection=connection, tenant=tenant, state=state)


def _refuse_after(state: SagaState, connection: psycopg.Connection[Any]) -> None:
    # A worker that was paused before it came here may find its step undone and the tenant gone: nothing is left on the
    # server that could refuse it, except the time.
    row = connection.execute("SELECT clock_timestamp(), clock_timestamp() > %s", [state.deadline]).fetchone()
    if row is not None and row[1]:
        raise StepFailed(
            f"attempt {state.attempt} of {state.idempotency_key} must act before {state.deadline}, got {row[0]}\n"
            "if no worker was paused, compare the clocks of the ledger's server and the target server"
        )


def _admin_parameters() -> dict[str, Any]:
    # libpq quotes what it cannot read in its errors, and what it cannot read may be the password: never raise those.
    url = os.environ.get("TENANTS_DATABASE_URL", "")
    try:
        found: dict[str, Any] = conninfo_to_dict(url) if url else {}
    except psycopg.ProgrammingError:
        found = {}
    names_only = not any("@" in str(found.get(key, "")) for key in ("host", "hostaddr", "dbname"))
    if not found or not names_only or not str(found.get("port", "5432")).replace(",", "").isdecimal():
        raise StepFailed(
            f"TENANTS_DATABASE_URL must be a PostgreSQL URL, got {'one that libpq cannot read' if url else 'nothing'}\n"
            "set it in the worker's environment as postgresql://user:password@host:port/database, percent-encoded"
        )
    return found
