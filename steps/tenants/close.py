"""Close a tenant for good, as the first step of its offboarding: it cannot log in, and only this saga may go on.

Puts out `tenant_made_by`, the saga that provisioned it. The undo opens the tenant again unless it was suspended before,
or its database is gone by now: then it is released, but stays suspended in the name of this saga.
"""

from dataclasses import replace

from sagaworker import SagaState, StepFailed
from steps.tenants._server import COMPENSATE_RETRY, RETRY, TIMEOUT, Server, locked
from steps.tenants._tenant import Inputs

__all__ = ["COMPENSATE_RETRY", "RETRY", "TIMEOUT", "Inputs", "compensate", "execute"]

_ELSEWHERE = """
    SELECT DISTINCT coalesce(d.datname, 'shared objects')
    FROM pg_shdepend s LEFT JOIN pg_database d ON d.oid = s.dbid
    WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = %(role)s
      AND coalesce(d.datname, '') <> ALL (%(own)s)
      AND NOT (s.classid = 'pg_database'::regclass
               AND s.objid IN (SELECT oid FROM pg_database WHERE datname = ANY (%(own)s)))
    ORDER BY 1
"""


def execute(state: SagaState) -> SagaState:
    with locked(state) as server:
        oid, mark = server.require_settled()
        if mark.leaving_by is None:
            _refuse_ties(server, oid)
            mark = server.write(replace(mark, leaving_by=state.saga_id))
        server.end_sessions(role=oid)
        return state.put_output("tenant_made_by", mark.made_by)


def compensate(state: SagaState) -> None:
    with locked(state) as server:
        role = server.role()
        if role is None or role.mark is None or role.mark.leaving_by != state.saga_id:
            return
        mark = replace(role.mark, leaving_by=None)
        if server.owner_of(server.tenant.role) != role.oid and not mark.suspended:
            mark = replace(mark, suspended_by=state.saga_id, resumed_by=None)
        server.write(mark)


def _refuse_ties(server: Server, oid: int) -> None:
    # A role that owns or may do something elsewhere cannot be dropped. Found out after its database is dropped, that
    # would leave half an offboarding which nothing can undo.
    values = {"role": oid, "own": [server.tenant.role, server.tenant.attic]}
    places = [row[0] for row in server.connection.execute(_ELSEWHERE, values)]
    if places:
        raise StepFailed(
            f"role {server.tenant.role} must own and be granted nothing outside its database, got some in"
            f" {', '.join(places)}\ngive it away there with REASSIGN OWNED and DROP OWNED"
        )
