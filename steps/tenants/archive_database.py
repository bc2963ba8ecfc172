"""Move the tenant's database out of the way by renaming it to `attic_tenant_<name>`: the part that can be taken back.

Puts out `tenant_archive`, the new name, or null when the tenant had no database. The undo renames it back.
"""

from sagaworker import SagaState, StepFailed
from steps.tenants._server import COMPENSATE_RETRY, RETRY, TIMEOUT, Server, locked
from steps.tenants._tenant import Inputs

__all__ = ["COMPENSATE_RETRY", "RETRY", "TIMEOUT", "Inputs", "compensate", "execute"]


def execute(state: SagaState) -> SagaState:
    with locked(state) as server:
        role = server.leaving()
        if role is None:
            return state.put_output("tenant_archive", None)
        name, attic = server.tenant.role, server.tenant.attic
        if server.owner_of(name) == role:
            _rename(server, name, attic)
        return state.put_output("tenant_archive", attic if server.owner_of(attic) == role else None)


def compensate(state: SagaState) -> None:
    with locked(state) as server:
        role = server.role()
        if role is None or role.mark is None or role.mark.leaving_by != state.saga_id:
            return
        if server.owner_of(server.tenant.attic) == role.oid and not server.is_invalid(server.tenant.attic):
            _rename(server, server.tenant.attic, server.tenant.role)


def _rename(server: Server, old: str, new: str) -> None:
    if server.owner_of(new) is not None:
        raise StepFailed(
            f"database {new} must not exist when {old} is renamed to it, got one\nrename or drop the one in the way"
        )
    # A database in use cannot be renamed. Who reconnects in between makes it fail, and it is tried again.
    server.end_sessions(database=old)
    server.run("ALTER DATABASE {old} RENAME TO {new}", old=old, new=new)
