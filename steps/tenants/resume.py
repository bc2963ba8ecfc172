"""Let a suspended tenant log in again. Puts out `tenant_resumed_by`.

Nothing is done to a tenant that is not suspended. The undo suspends it again, in the name of the saga that had, if this
saga resumed it; sessions opened meanwhile are ended.
"""

from dataclasses import replace

from sagaworker import SagaState
from steps.tenants._server import COMPENSATE_RETRY, RETRY, TIMEOUT, locked
from steps.tenants._tenant import Inputs

__all__ = ["COMPENSATE_RETRY", "RETRY", "TIMEOUT", "Inputs", "compensate", "execute"]


def execute(state: SagaState) -> SagaState:
    with locked(state) as server:
        _, mark = server.require_settled()
        if mark.suspended:
            mark = server.write(replace(mark, resumed_by=state.saga_id))
        return state.put_output("tenant_resumed_by", mark.resumed_by)


def compensate(state: SagaState) -> None:
    with locked(state) as server:
        role = server.role()
        if role is None or role.mark is None:
            return
        mark = role.mark
        if mark.resumed_by == state.saga_id:
            mark = server.write(replace(mark, resumed_by=None))
        if mark.suspended and mark.by == state.saga_id:
            # Also when an earlier attempt of this undo set the mark and died before it came here.
            server.end_sessions(role=role.oid)
