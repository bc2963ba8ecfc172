"""Starting: requests are checked, stored once for each (kind, key), and rung."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, cast

from sagaworker.catalog.definitions import Definitions
from sagaworker.domain.records import Doorbell, Ring, SagaRun
from sagaworker.domain.status import RunStatus
from sagaworker.domain.values import encoded
from sagaworker.errors import InvalidInput, KeyConflict, SagaNotFound
from sagaworker.failpoints import Failpoints
from sagaworker.ledger.caller_transaction import in_transaction, join
from sagaworker.ledger.ledger import Ledger
from sagaworker.ledger.session import Connection
from sagaworker.ledger.starts import NewRun
from sagaworker.starts.requests import Requests

BATCH = 500  # runs stored in one transaction
BATCH_BYTES = 16 * 1024 * 1024  # of JSON: a batch travels as one jsonb, which cannot be larger than 256 MB


class Starts:
    """What `start` and `start_many` do. A doorbell is rung once its run is durable, best effort."""

    def __init__(
        self, ledger: Ledger, definitions: Definitions, requests: Requests, ring: Ring, failpoints: Failpoints
    ) -> None:
        self._ledger = ledger
        self._definitions = definitions
        self._requests = requests
        self._ring = ring
        self._failpoints = failpoints

    def checked(self, kind: str, steps: Sequence[str | Mapping[str, Any]] | None = None, **options: Any) -> NewRun:
        """The run to store; without `steps`, by the definition of its kind."""
        if steps is not None:
            return self._requests.checked(kind, steps, **options)
        source_env = self._requests.source_env(options)
        definition = self._definitions.to_start(kind, options.get("actor_id"), source_env)
        return self._requests.checked(kind, definition.steps, definition=definition, **options)

    def one(self, request: NewRun) -> SagaRun:
        """Store one run, or find the one that has its key, and ring it."""
        self._failpoints.hit("start.before")
        run = self._stored([request])[0]
        self._failpoints.hit("start.after")
        self._ring(_bells([run]))
        return run

    def joining(self, connection: object, request: NewRun) -> SagaRun:
        """The same within the transaction of the caller's connection; rung once that has committed."""
        joined = join(connection, self._ledger.database)
        with joined.in_utf8():
            run = self._stored([request], joined.driver)[0]
        bells = _bells([run])
        joined.after_commit(lambda: self._ring(bells))
        return run

    def many(self, requests: Sequence[Mapping[str, Any]]) -> list[SagaRun]:
        """Check all, then store and ring batch by batch; a conflict leaves its batch wholly unstored."""
        checked = [self.checked(**_as_arguments(request, idx)) for idx, request in enumerate(requests)]
        _refuse_twice(checked)
        runs: list[SagaRun] = []
        for batch in _batches(checked):
            stored = in_transaction(self._ledger.database, partial(self._stored, batch))
            self._ring(_bells(stored))
            runs += stored
        return runs

    def _stored(self, requests: Sequence[NewRun], connection: Connection | None = None) -> list[SagaRun]:
        stored = self._ledger.start(requests, connection)
        existing = self._existing([request for request in requests if request.id not in stored], connection)
        return [_pending_run(r) if r.id in stored else existing[r.id] for r in requests]

    def _existing(self, requests: Sequence[NewRun], connection: Connection | None) -> dict[str, SagaRun]:
        """The runs that were there before, by the id of the request that met them."""
        if not requests:
            return {}
        met = self._ledger.met(requests, connection)
        by_id = {run.id: run for run in met}
        by_key = {(run.kind, run.key, run.source_env): run for run in met}
        existing: dict[str, SagaRun] = {}
        for request in requests:
            run = by_id.get(request.id) or by_key.get((request.kind, request.key, request.source_env))
            if run is None:
                raise SagaNotFound(request.id)
            if run.inputs_hash != request.inputs_hash:
                raise KeyConflict(request.kind, request.key or "", run.id, request.inputs_hash, run.inputs_hash)
            existing[request.id] = run
        return existing


def _as_arguments(request: Mapping[str, Any], idx: int) -> dict[str, Any]:
    if not isinstance(request, Mapping) or "kind" not in request:
        raise InvalidInput(f"request {idx} must be a mapping with a kind, got a {type(request).__name__}")
    return dict(request)


def _refuse_twice(requests: Sequence[NewRun]) -> None:
    """Over the whole call: in two batches the second would meet what this very call has stored."""
    seen: set[tuple[str, str, str | None]] = set()
    for request in requests:
        if request.key is None:
            continue
        if (request.kind, request.key, request.source_env) in seen:
            raise InvalidInput(f"keys must be unique in one call, got {request.key!r} of kind {request.kind!r} twice")
        seen.add((request.kind, request.key, request.source_env))


def _batches(requests: Sequence[NewRun]) -> Iterator[list[NewRun]]:
    """In order, of at most BATCH runs and BATCH_BYTES, and of at least one run."""
    batch: list[NewRun] = []
    room = BATCH_BYTES
    for request in requests:
        size = len(encoded(request.as_json()))
        if batch and (len(batch) == BATCH or size > room):
            yield batch
            batch, room = [], BATCH_BYTES
        batch.append(request)
        room -= size
    if batch:
        yield batch


def _pending_run(request: NewRun) -> SagaRun:
    """The run as it was just stored. Instants are the database's and are read with `get`."""
    stored = {
        name: value for name in SagaRun.__dataclass_fields__ if (value := getattr(request, name, None)) is not None
    }
    stored["step_modules"] = tuple(request.step_modules)
    stored.pop("deadline_at", None)
    return SagaRun(**cast("dict[str, Any]", {**stored, "status": RunStatus.PENDING}))


def _bells(runs: Sequence[SagaRun]) -> list[Doorbell]:
    """Of the runs that nobody has claimed yet."""
    return [Doorbell.of(run) for run in runs if run.status is RunStatus.PENDING]
