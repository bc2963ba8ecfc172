"""Suspend a tenant: it cannot log in and its sessions end; its data stay. Puts out `tenant_suspended_by`.

A tenant that is suspended already stays so, and then it is not this saga that suspended it. The undo opens the tenant
again if this saga suspended it and no offboarding holds it. Sessions that were ended stay ended.
"""

from dataclasses import replace

from sagaworker import SagaState
from steps.tenants._server import COMPENSATE_RETRY, RETRY, TIMEOUT, locked
from steps.tenants._tenant import Inputs

__all__ = ["COMPENSATE_RETRY", "RETRY", "TIMEOUT", "Inputs", "compensate", "execute"]


def execute(state: SagaState) -> SagaState:
    with locked(state) as server:
        oid, mark = server.require_settled()
        # Suspended by this saga and resumed since: an attempt of ours did its work, the later word is another's.
        if not mark.suspended and mark.suspended_by != state.saga_id:
            mark = server.write(replace(mark, suspended_by=state.saga_id, resumed_by=None))
        if mark.suspended:
            server.end_sessions(role=oid)
        return state.put_output("tenant_suspended_by", mark.suspended_by)


def compensate(state: SagaState) -> None:
    with locked(state) as server:
        role = server.role()
        if role is not None and role.mark is not None and role.mark.suspended_by == state.saga_id:
            server.write(replace(role.mark, suspended_by=None, resumed_by=None))
