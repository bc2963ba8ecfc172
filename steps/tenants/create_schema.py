"""Create the tenant's schema in its database, owned by its role. Puts out `tenant_schema`."""

from sagaworker import SagaState, StepFailed
from steps.tenants._server import COMPENSATE_RETRY, RETRY, TIMEOUT, locked
from steps.tenants._tenant import Inputs

__all__ = ["COMPENSATE_RETRY", "RETRY", "TIMEOUT", "Inputs", "compensate", "execute"]


def execute(state: SagaState) -> SagaState:
    with locked(state) as server:
        owner, _ = server.require_made_here()
        name = server.tenant.role
        if server.owner_of(name) != owner:
            raise StepFailed(
                f"database {name} must exist and be owned by role {name}, got another owner or none\n"
                "put steps.tenants.create_database before this step in the list"
            )
        with locked(state, database=name) as inside, inside.connection.transaction():
            inside.run("CREATE SCHEMA IF NOT EXISTS {name} AUTHORIZATION {name}", name=name)
            # Said here rather than left to the version: before 15 everybody could create in schema public.
            inside.run("REVOKE ALL ON SCHEMA public FROM PUBLIC")
        return state.put_output("tenant_schema", name)


def compensate(state: SagaState) -> None:
    with locked(state) as server:
        made, name = server.made_here(), server.tenant.role
        if made is None or server.owner_of(name) != made[0] or server.is_invalid(name):
            return
        with locked(state, database=name) as inside, inside.connection.transaction():
            inside.run("DROP SCHEMA IF EXISTS {name} CASCADE", name=name)
            inside.run("GRANT USAGE ON SCHEMA public TO PUBLIC")
