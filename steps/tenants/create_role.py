"""Create the tenant's role, able to log in with its derived password. Puts out `tenant_role`.

Role, password and mark are made in one transaction: after a crash there is all of it or nothing. The server is given a
SCRAM-SHA-256 verifier computed here, so the password is neither sent nor logged.
"""

import psycopg
from psycopg import sql

from sagaworker import SagaState, StepFailed
from steps.tenants._server import COMPENSATE_RETRY, RETRY, TIMEOUT, Mark, Server, locked
from steps.tenants._tenant import Inputs, password_for

__all__ = ["COMPENSATE_RETRY", "RETRY", "TIMEOUT", "Inputs", "compensate", "execute"]


def execute(state: SagaState) -> SagaState:
    with locked(state) as server:
        # Made here already: an earlier attempt did all of it.
        if server.made_here() is None:
            _create(server)
        return state.put_output("tenant_role", server.tenant.role)


def compensate(state: SagaState) -> None:
    with locked(state) as server:
        if (made := server.made_here()) is not None:
            server.end_sessions(role=made[0])
            server.run("DROP ROLE {role}", role=server.tenant.role)


def _create(server: Server) -> None:
    who, saga = server.tenant, server.state.saga_id
    connection = server.connection
    verifier = connection.pgconn.encrypt_password(
        password_for(who.tenant, who.rotation).encode(), who.role.encode(), b"scram-sha-256"
    ).decode()
    refusal = StepFailed(
        f"role {who.role} must not exist before it is provisioned, got one that saga {saga} did not make\n"
        "choose another tenant name, or offboard that tenant first"
    )
    if server.role() is not None:
        raise refusal
    try:
        with connection.transaction():
            connection.execute(
                sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(who.role), sql.Literal(verifier))
            )
            server.comment(Mark(tenant=who.tenant, made_by=saga, by=saga, fence=server.state.fence))
            if not server.is_superuser():
                # Whoever is not superuser must be a member to give the role a database and to end its sessions.
                server.run("GRANT {role} TO CURRENT_USER", role=who.role)
    except (psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
        # Somebody without our lock was quicker; the transaction left nothing.
        raise refusal from None
