"""Definitions in the database (`saga_definitions`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import DictRow

from sagaworker.domain.definition import Definition
from sagaworker.ledger.database import Database
from sagaworker.ledger.session import Connection
from sagaworker.ledger.statements import execute


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """The current definition of a kind in the database; `version` is the one under which it was stored."""

    definition: Definition
    version: str
    inserted_at: datetime


class DefinitionStore:
    """Keeps every version of every definition by environment (None is one too). The newest that is not disabled is current."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, definition: Definition, source_env: str | None) -> None:
        """Store a definition. A step list that was stored before keeps its place in the order; its options are updated."""
        self._database.retried(
            "define",
            {
                "actor_id": definition.actor,
                "kind": definition.kind,
                "version": definition.version,
                "steps": json.dumps(definition.frozen_steps),
                "recovery_policy": definition.recovery_policy,
                "max_recoveries": definition.max_recoveries,
                "options": json.dumps(definition.options),
                "source_env": source_env,
            },
        )

    def current(
        self, source_env: str | None, kinds: Sequence[str] | None = None, connection: Connection | None = None
    ) -> list[Stored]:
        """The current definitions of that environment, of these kinds or of all; read on `connection` if given."""
        parameters = {"kinds": None if kinds is None else list(kinds), "source_env": source_env}
        if connection is not None:
            return [_stored(row) for row in execute(connection, "defined", parameters)]
        return [_stored(row) for row in self._database.retried("defined", parameters)]


def _stored(row: DictRow) -> Stored:
    options = row["options"] if isinstance(row["options"], dict) else {}
    steps = row["steps"] if isinstance(row["steps"], list) else ()
    definition = Definition(
        kind=row["kind"],
        steps=steps,
        actor=row["actor_id"],
        recovery_policy=row["recovery_policy"],
        max_recoveries=row["max_recoveries"],
        on_compensation_failure=options.get("on_compensation_failure"),
        queue=options.get("queue"),
        priority=options.get("priority"),
    )
    return Stored(definition=definition, version=row["version"], inserted_at=row["inserted_at"])
