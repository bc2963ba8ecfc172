"""Starts: runs are stored once for each (kind, key), alone, many at once, or in a transaction of the caller."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import DictRow

from sagaworker.domain.records import SagaRun
from sagaworker.domain.values import Json
from sagaworker.ledger import prepared
from sagaworker.ledger.area import Area
from sagaworker.ledger.reads import run_of
from sagaworker.ledger.session import Connection
from sagaworker.ledger.statements import execute

_OF_JSON = frozenset({"step_modules", "inputs", "trigger_ref", "overrides", "trace", "attributes"})


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """A checked request to start one saga, ready to be stored."""

    id: str
    kind: str
    step_modules: Sequence[Json]
    inputs: Mapping[str, Json]
    inputs_hash: str
    actor_id: str | None = None
    key: str | None = None
    recovery_policy: str | None = None
    max_recoveries: int = 3
    on_compensation_failure: str = "continue"
    trigger_type: str | None = None
    trigger_ref: Mapping[str, Json] | None = None
    mode: str = "live"
    overrides: Mapping[str, Json] | None = None
    trace: Mapping[str, Json] | None = None
    conversation_id: str | None = None
    attributes: Mapping[str, Json] | None = None
    queue: str | None = None
    priority: int | None = None
    source_stack: str | None = None
    source_env: str | None = None
    deadline_at: str | None = None  # ISO 8601 with offset
    definition_version: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


class LedgerStarts(Area):
    """Starts."""

    def start(self, runs: Sequence[NewRun], connection: psycopg.Connection[Any] | None = None) -> set[str]:
        """Store pending runs; return the ids stored. A missing id means that the id or its (kind, key) existed already.

        On the caller's connection the move joins the caller's transaction. Otherwise it commits, and is sent again where
        the commit's acknowledgement is lost: the ids are the caller's, so a second landing stores nothing.
        """
        if connection is None and len(runs) == 1:
            return {row["id"] for row in self.database.again(lambda own: self._start_one(own, runs[0]))}
        return {row["id"] for row in self._start_all(runs, connection)}

    def _start_one(self, connection: Connection, new: NewRun) -> list[dict[str, Any]]:
        run = prepared.runner(connection)
        if run is None:
            return self._start_all([new], connection)
        parameters = {
            name: json.dumps(value) if name in _OF_JSON and value is not None else value
            for name, value in new.as_json().items()
        }
        return run(connection, "start_one", parameters | {"saga_id": new.id, "ring_after": self.periods.ring_after})

    def _start_all(self, runs: Sequence[NewRun], connection: psycopg.Connection[Any] | None) -> list[DictRow]:
        parameters = {
            "runs": json.dumps([run.as_json() for run in runs]),
            "ring_after": self.periods.ring_after,
        }
        if connection is not None:
            try:
                return execute(connection, "start", parameters)
            except psycopg.Error as exc:
                self.database.refuse_older(exc)
                raise
        return self.database.retried("start", parameters)

    def met(self, requests: Sequence[NewRun], connection: psycopg.Connection[Any] | None = None) -> list[SagaRun]:
        """The existing runs that kept these requests from being stored, as the same transaction sees them."""
        keyed = [request for request in requests if request.key is not None]
        parameters: dict[str, Any] = {
            "ids": [request.id for request in requests],
            "kinds": [request.kind for request in keyed],
            "keys": [request.key for request in keyed],
            "envs": [request.source_env for request in keyed],
        }
        rows = (
            self.database.retried("met", parameters) if connection is None else execute(connection, "met", parameters)
        )
        return [run_of(row) for row in rows]
