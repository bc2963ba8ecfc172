"""Steps that spoil the provisioning of a tenant, each with an error out of a connection that knows a password."""

from __future__ import annotations

import psycopg

from sagaworker import SagaState
from steps.tenants import password_for, verify_login
from steps.tenants._server import locked


class TakesThePassword:
    """Nobody can log in as the tenant any more."""

    def execute(self, state: SagaState) -> SagaState:
        with locked(state) as server:
            server.run("ALTER ROLE {role} PASSWORD NULL", role=server.tenant.role)
        return state


class LogsIn:
    """The login of `verify_login`, tried once."""

    execute = staticmethod(verify_login.execute)


class RaisesItsConnection:
    """What a driver's error, its cause and whoever raises it can tell of a session of the tenant."""

    def execute(self, state: SagaState) -> SagaState:
        with locked(state) as server:
            where = server.connection.info
            role, password = server.tenant.role, password_for(server.tenant.tenant, server.tenant.rotation)
            with psycopg.connect(host=where.host, port=where.port, user=role, password=password, dbname=role) as tenant:
                try:
                    tenant.execute("SELECT 1/0")
                except psycopg.Error as broken:
                    raise RuntimeError(tenant, tenant.info.dsn, where.dsn) from broken
        return state
