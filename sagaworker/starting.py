"""Starting: requests are checked, stored once for each (kind, key), and rung."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from sagaworker.definitions import Definitions
from sagaworker.domain.records import Doorbell, SagaRun
from sagaworker.domain.status import RunStatus
from sagaworker.errors import InvalidInput, KeyConflict, SagaNotFound
from sagaworker.failpoints import Failpoints
from sagaworker.ledger.joining import Joined, join
from sagaworker.ledger.moves import Ledger, NewRun
from sagaworker.recovery import Ring
from sagaworker.requests import Requests

BATCH = 500  # runs stored in one transaction


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
        definition = self._definitions.to_start(kind, options.get("actor_id"))
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
        run = self._stored([request], joined)[0]
        bells = _bells([run])
        joined.after_commit(lambda: self._ring(bells))
        return run

    def many(self, requests: Sequence[Mapping[str, Any]]) -> list[SagaRun]:
        """Check all, then store and ring batch by batch."""
        checked = [self.checked(**_as_arguments(request, idx)) for idx, request in enumerate(requests)]
        runs: list[SagaRun] = []
        for begin in range(0, len(checked), BATCH):
            batch = self._stored(checked[begin : begin + BATCH])
            self._ring(_bells(batch))
            runs += batch
        return runs

    def _stored(self, requests: Sequence[NewRun], joined: Joined | None = None) -> list[SagaRun]:
        twice = _first_twice(requests)
        if twice is not None:
            raise InvalidInput(f"keys must be unique in one call, got {twice[1]!r} of kind {twice[0]!r} twice")
        stored = self._ledger.start(requests, joined.driver if joined else None)
        met = [request for request in requests if request.id not in stored]
        existing = self._existing(met, joined)
        return [_pending_run(r) if r.id in stored else existing[r.id] for r in requests]

    def _existing(self, requests: Sequence[NewRun], joined: Joined | None) -> dict[str, SagaRun]:
        """The runs that were there before, by the id of the request that met them."""
        if not requests:
            return {}
        met = self._ledger.met(requests, joined.driver if joined else None)
        by_id = {run.id: run for run in met}
        by_key = {(run.kind, run.key): run for run in met}
        existing: dict[str, SagaRun] = {}
        for request in requests:
            run = by_id.get(request.id) or by_key.get((request.kind, request.key))
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


def _first_twice(requests: Sequence[NewRun]) -> tuple[str, str] | None:
    seen: set[tuple[str, str]] = set()
    for request in requests:
        if request.key is not None:
            if (request.kind, request.key) in seen:
                return request.kind, request.key
            seen.add((request.kind, request.key))
    return None


def _pending_run(request: NewRun) -> SagaRun:
    """The run as it was just stored. Instants are the database's and are read with `get`."""
    stored = {name: value for name in SagaRun.__slots__ if (value := getattr(request, name, None)) is not None}
    stored["step_modules"] = tuple(request.step_modules)
    stored.pop("deadline_at", None)
    return SagaRun(**cast("dict[str, Any]", {**stored, "status": RunStatus.PENDING}))


def _bells(runs: Sequence[SagaRun]) -> list[Doorbell]:
    """Of the runs that nobody has claimed yet."""
    return [Doorbell.of(run) for run in runs if run.status is RunStatus.PENDING]
