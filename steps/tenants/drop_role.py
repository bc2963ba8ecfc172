"""Drop the role of a tenant whose database is gone; with it the tenant is. Puts out `tenant_role_dropped`.

Like drop_database it has an undo only while nothing was dropped.
"""

import psycopg

from sagaworker import SagaState, StepFailed
from steps.tenants._server import COMPENSATE_RETRY, TIMEOUT, locked
from steps.tenants._server import COMPENSATE_RETRY as RETRY  # Past the point of no return only forward is any use.
from steps.tenants._tenant import Inputs

__all__ = ["COMPENSATE_RETRY", "RETRY", "TIMEOUT", "Inputs", "compensate", "execute"]


def execute(state: SagaState) -> SagaState:
    with locked(state) as server:
        role, name = server.leaving(), server.tenant.role
        if role is not None:
            server.end_sessions(role=role)
            try:
                server.run("DROP ROLE {name}", name=name)
            except psycopg.errors.DependentObjectsStillExist as refused:
                detail = refused.diag.message_detail or "something"
                raise StepFailed(
                    f"role {name} must own and be granted nothing when it is dropped, got: {detail}\n"
                    "give it away with REASSIGN OWNED and DROP OWNED, then offboard the tenant again"
                ) from None
        return state.put_output("tenant_role_dropped", name)


def compensate(state: SagaState) -> None:
    with locked(state) as server:
        role = server.role()
        if role is None or role.mark is None or role.mark.leaving_by != state.saga_id:
            raise StepFailed(
                f"role {server.tenant.role} must be there to be given back to its tenant, got it dropped\n"
                "provision the tenant again"
            )
