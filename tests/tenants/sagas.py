"""Call tenant steps as the engine would, without the engine."""

from __future__ import annotations

import importlib
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import Any

import psycopg
from psycopg import sql

from sagaworker import SagaState
from steps.tenants import OFFBOARD, PROVISION
from steps.tenants._server import Mark


@dataclass
class Saga:
    """One saga of a tenant: what its steps put out, and a fence that rises with every call."""

    tenant: Any
    rotation: Any = 1
    saga_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    outputs: dict[str, Any] = field(default_factory=dict)
    fences: Iterator[int] = field(default_factory=lambda: count(1))

    def arguments(self, step: str, outcome: str | None = None) -> dict[str, Any]:
        """What a SagaState of this step is made from; JSON."""
        idx = [*PROVISION, *OFFBOARD].index(step) if step in (*PROVISION, *OFFBOARD) else 0
        return {
            "saga_id": self.saga_id, "step_idx": idx, "step_id": step.rpartition(".")[2], "attempt": 1,
            "idempotency_key": f"{self.saga_id}:{idx}" + (":undo" if outcome else ""), "fence": next(self.fences),
            "outcome": outcome, "_inputs": {"tenant": self.tenant, "rotation": self.rotation},
            "_context": dict(self.outputs),
        }  # fmt: skip

    def execute(self, step: str, *, fence: int | None = None, deadline: datetime | None = None) -> dict[str, Any]:
        """Run the step; what it put out is kept for the later ones and returned."""
        arguments = self.arguments(step) | ({} if fence is None else {"fence": fence})
        act = member(step, "execute")
        assert act is not None
        put_out = dict(act(SagaState(**arguments, deadline=deadline)).outputs)
        self.outputs |= put_out
        return put_out

    def compensate(self, step: str, outcome: str = "completed") -> None:
        undo = member(step, "compensate")
        if undo is not None:
            assert undo(SagaState(**self.arguments(step, outcome))) is None

    def walk(self, steps: Sequence[str]) -> Saga:
        for step in steps:
            self.execute(step)
        return self

    def undo(self, steps: Sequence[str], outcome: str = "completed") -> None:
        for step in reversed(steps):
            self.compensate(step, outcome)


def member(step: str, name: str) -> Callable[[SagaState], Any] | None:
    """A member of the step's module, or None when it has none of that name."""
    return getattr(importlib.import_module(step), name, None)


def provisioned(tenant: str) -> Saga:
    return Saga(tenant).walk(PROVISION)


@dataclass(frozen=True)
class World:
    """What the target server holds of tenants, without what differs from one attempt to the next."""

    roles: tuple[tuple[Any, ...], ...]
    databases: tuple[tuple[Any, ...], ...]
    schemas: tuple[tuple[Any, ...], ...]


def world(admin: psycopg.Connection[Any], *tenants: str) -> World:
    """Look at the roles, databases and schemas of these tenants, attics included."""
    names = [f"tenant_{tenant}" for tenant in tenants]
    both = [*names, *(f"attic_{name}" for name in names)]
    roles = admin.execute(
        "SELECT rolname, rolcanlogin, rolpassword IS NOT NULL, shobj_description(oid, 'pg_authid') FROM pg_authid"
        " WHERE rolname = ANY (%s) ORDER BY 1", [names]
    ).fetchall()  # fmt: skip
    databases = admin.execute(
        "SELECT datname, datdba::regrole::text, datacl::text, datconnlimit FROM pg_database"
        " WHERE datname = ANY (%s) ORDER BY 1", [both]
    ).fetchall()  # fmt: skip
    schemas = [row for database in databases if database[3] != -2 for row in _schemas(admin, database[0])]
    return World(tuple(_bare(*row) for row in roles), tuple(databases), tuple(schemas))


def _schemas(admin: psycopg.Connection[Any], database: str) -> list[tuple[Any, ...]]:
    parameters: dict[str, Any] = {**admin.info.get_parameters(), "password": admin.info.password, "dbname": database}
    with psycopg.connect(**parameters, autocommit=True) as inside:
        return inside.execute(
            "SELECT current_database(), nspname, nspowner::regrole::text, nspacl::text FROM pg_namespace"
            " WHERE nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema' ORDER BY 2"
        ).fetchall()


def _bare(name: str, login: bool, password: bool, comment: str | None) -> tuple[Any, ...]:
    mark = Mark.parse(comment, name.removeprefix("tenant_"))
    if mark is None:
        return name, login, password, comment
    return name, login, password, mark.made_by, mark.ready, mark.suspended_by, mark.resumed_by, mark.leaving_by


NOTHING = World((), (), ())


def sweep_away(admin: psycopg.Connection[Any]) -> None:
    """Drop every tenant, whoever made it."""
    for kind, query in (
        ("DROP DATABASE {} WITH (FORCE)", "SELECT datname FROM pg_database WHERE datname ~ '^(attic_)?tenant_'"),
        ("DROP ROLE {}", "SELECT rolname FROM pg_roles WHERE rolname ~ '^tenant_'"),
    ):
        for (name,) in admin.execute(query).fetchall():
            admin.execute(sql.SQL(kind).format(sql.Identifier(name)))
