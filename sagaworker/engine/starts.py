"""Starting sagas: alone, in the caller's transaction, or many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sagaworker.domain.records import SagaRun
from sagaworker.engine.doorbells import EngineDoorbells
from sagaworker.errors import InvalidInput

# The default of `connection`: not given. None is different: the caller meant to give a connection and has none.
OWN: Final = object()


class EngineStarts(EngineDoorbells):
    """A start is durable when it returns."""

    def start(
        self,
        kind: str,
        steps: Sequence[str | Mapping[str, Any]] | None = None,
        *,
        inputs: Mapping[str, Any] | None = None,
        key: str | None = None,
        connection: object = OWN,
        wait: float | None = None,
        **options: Any,
    ) -> SagaRun:
        """Start one saga: durable when this returns, then rung, best effort (the sweep rings where that failed).

        Without `steps`, the list and the options of the kind's definition are taken, and the run is pinned to them.
        With `key`, the same (kind, key) again returns the existing run whatever its status, if its inputs are equal.
        With `connection` (SQLAlchemy Connection or Session, or psycopg connection) the saga exists if and only if the
        caller commits, and is rung after that. With `wait`, the terminal run is returned, at most that many seconds
        later. Options: actor_id, recovery_policy, max_recoveries, on_compensation_failure, mode, attributes, queue,
        priority, deadline (an aware datetime, timedelta or seconds), trigger_type, trigger_ref, conversation_id,
        source_stack, source_env.

        Raises:
            InvalidInput: a kind, key, list, input or option is not acceptable; nothing was stored.
            KeyConflict: (kind, key) was started with other inputs.
            WaitTimeout: `wait` seconds passed; the saga goes on.
        """
        if connection is None:
            raise InvalidInput(
                "connection must be an open connection where it is given, got None",
                "leave it out for a transaction of our own; Django's has none before its first query: call"
                " ensure_connection()",
            )
        if wait is not None and connection is not OWN:
            raise InvalidInput(
                "wait cannot be given with connection: the saga exists when the caller has committed",
                "wait after the commit",
            )
        request = self._starts.checked(kind, steps, inputs=inputs, key=key, **options)
        if connection is not OWN:
            return self._starts.joining(connection, request)
        run = self._starts.one(request)
        return run if wait is None else self.wait(run.id, timeout=wait)

    def start_many(self, requests: Sequence[Mapping[str, Any]]) -> list[SagaRun]:
        """Start many sagas: each request holds the arguments of `start` (kind, steps, inputs, key, options).

        All requests are checked before any is stored. They are stored in order, in transactions of at most 500 runs
        and 16 MB. Each batch is stored wholly or not at all, and is rung before the next is stored. Whatever ends the
        call, the first batches are stored and rung, and nothing else is: give keys, and call again.

        Raises:
            InvalidInput: a request is not acceptable, or two have the same kind and key; nothing was stored.
            KeyConflict: (kind, key) was started with other inputs; its batch and later batches were not stored.
        """
        return self._starts.many(requests)
