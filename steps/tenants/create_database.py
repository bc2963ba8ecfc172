"""Create the tenant's database, owned by its role and closed to everybody else. Puts out `tenant_database`."""

import psycopg

from sagaworker import SagaState, StepFailed
from steps.tenants._server import COMPENSATE_RETRY, RETRY, TIMEOUT, locked
from steps.tenants._tenant import Inputs

__all__ = ["COMPENSATE_RETRY", "RETRY", "TIMEOUT", "Inputs", "compensate", "execute"]


def execute(state: SagaState) -> SagaState:
    with locked(state) as server:
        owner, _ = server.require_made_here()
        name = server.tenant.role
        refusal = StepFailed(
            f"database {name} must not exist before it is provisioned, got one that role {name} does not own\n"
            "choose another tenant name, or rename that database"
        )
        found = server.owner_of(name)
        if found not in (None, owner):
            raise refusal
        if found is not None and server.is_invalid(name):
            server.run("DROP DATABASE {name}", name=name)
            found = None
        if found is None:
            try:
                # template0: nothing that somebody put into template1, and nobody can be connected to it.
                server.run("CREATE DATABASE {name} OWNER {name} TEMPLATE template0", name=name)
            except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                raise refusal from None
        server.run("REVOKE ALL ON DATABASE {name} FROM PUBLIC", name=name)
        return state.put_output("tenant_database", name)


def compensate(state: SagaState) -> None:
    with locked(state) as server:
        made = server.made_here()
        if made is None:
            return
        # The attic too: an offboarding may have moved the database before this saga was undone.
        for name in (server.tenant.role, server.tenant.attic):
            if server.owner_of(name) == made[0]:
                server.run("DROP DATABASE {name} WITH (FORCE)", name=name)
