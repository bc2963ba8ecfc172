"""Drop the archived database of a tenant: the point of no return. Puts out `tenant_database_dropped`.

There is no undo of a drop, and this step does not pretend one. Its undo succeeds only when nothing was dropped; else it
fails, the walk goes on with the steps before it, and the saga ends `failed` naming this step.
"""

from sagaworker import SagaState, StepFailed
from steps.tenants._server import COMPENSATE_RETRY, RETRY, TIMEOUT, locked
from steps.tenants._tenant import Inputs

__all__ = ["COMPENSATE_RETRY", "RETRY", "TIMEOUT", "Inputs", "compensate", "execute"]


def execute(state: SagaState) -> SagaState:
    with locked(state) as server:
        role, attic = server.leaving(), server.tenant.attic
        if role is not None and server.owner_of(server.tenant.role) == role:
            raise StepFailed(
                f"database {server.tenant.role} must be archived before it is dropped, got it under its own name\n"
                "put steps.tenants.archive_database before this step in the list"
            )
        if role is not None and server.owner_of(attic) == role:
            server.run("DROP DATABASE {name} WITH (FORCE)", name=attic)
        return state.put_output("tenant_database_dropped", state.get_output("tenant_archive"))


def compensate(state: SagaState) -> None:
    if state.get_output("tenant_archive") is None:
        return  # The tenant had no database, so none was dropped.
    with locked(state) as server:
        role, attic = server.role(), server.tenant.attic
        if role is None or server.owner_of(attic) != role.oid or server.is_invalid(attic):
            raise StepFailed(
                f"database {attic} must be there to be given back to tenant {server.tenant.tenant}, got it dropped\n"
                "restore it from a backup, or offboard the tenant again to remove what is left"
            )
