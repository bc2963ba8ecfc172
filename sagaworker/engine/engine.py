"""The facade that users, tasks and commands call."""

from __future__ import annotations

import builtins
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal, Self

from sagaworker.catalog.definitions import Definitions
from sagaworker.catalog.registry import Registry
from sagaworker.domain.records import Doorbell, Finding, Ring, SagaRun, StepResult, Timeline
from sagaworker.domain.status import RunStatus
from sagaworker.engine.operators import OperatorMoves
from sagaworker.engine.recovery import RecoveryMoves
from sagaworker.episodes import EpisodeEnd, HostPlace, Observer, Place, Runner, ThreadPlace
from sagaworker.episodes.heartbeat import Heartbeat
from sagaworker.errors import InvalidInput, InvalidSetting, SagaNotFound, WaitTimeout
from sagaworker.failpoints import Failpoints
from sagaworker.ledger import audit, version
from sagaworker.ledger.claim import Periods
from sagaworker.ledger.connection import Database
from sagaworker.ledger.definitions import DefinitionStore
from sagaworker.ledger.failpoints import cursor_class
from sagaworker.ledger.moves import Claimer, Ledger
from sagaworker.ledger.operators import Operating
from sagaworker.ledger.outage import OUTAGE, REFUSAL, reason
from sagaworker.ledger.reads import Reads
from sagaworker.reads.names import Finder
from sagaworker.recovery.sweep import Recovery
from sagaworker.settings import Settings
from sagaworker.starts.requests import (
    Requests,
    checked_id,
    checked_note,
    checked_page,
    checked_since,
    checked_statuses,
    checked_words,
)
from sagaworker.starts.starts import Starts
from sagaworker.telemetry import metrics

log = logging.getLogger(__name__)

# A connection that was left out; None is one that somebody gave without having it.
OWN: Final = object()
ASKED_EVERY = 60.0  # seconds for which a ledger's identity is remembered, and that it cannot be read
CancelAnswer = Literal["requested", "cancelled", "not_active"]


class Engine(OperatorMoves, RecoveryMoves):
    """Durable sagas over one ledger. Safe between threads, and in a forked child, which is an owner of its own.

    On a database that is not migrated, or by another version, calls raise SchemaMismatch.

    >>> engine = Engine.from_env()  # doctest: +SKIP
    >>> run = engine.start("checkout", ["steps.reserve", "steps.charge"], key="order-42")  # doctest: +SKIP
    """

    def __init__(
        self, settings: Settings | None = None, *, ring: Ring | None = None, failpoints: Failpoints | None = None
    ) -> None:
        self.settings = settings or Settings.from_env()
        if self.settings.database_url is None:
            raise InvalidSetting(
                "SAGAWORKER_DATABASE_URL must be set, got nothing",
                "for example postgresql://user@localhost/sagas; `sagaworker up` starts a database of its own",
            )
        self._ring = ring
        self._ledger_id: str | None = None
        self._ask_ledger_at = 0.0
        self._failpoints = failpoints or Failpoints.from_env()
        hurt = cursor_class(self._failpoints) if self._failpoints else None
        self.database = Database(self.settings.database_url, schema=self.settings.schema, cursor_class=hurt)
        self.ledger = Ledger(
            self.database,
            Periods(
                lease=self.settings.lease,
                grace=self.settings.step_grace,
                ring_after=2 * self.settings.sweep_interval,
            ),
        )
        self.registry = Registry(self.settings)
        self.reads = Reads(self.database)
        self.operating = Operating(self.database, self.ledger.periods.ring_after)
        self.definitions = Definitions(self.registry, DefinitionStore(self.database), self.settings)
        self.recovery = Recovery(self.ledger, self.definitions, self.ring_all, self._failpoints, self.settings)
        self._starts = Starts(
            self.ledger, self.definitions, Requests(self.settings, self.registry), self.ring_all, self._failpoints
        )
        self._made_here()

    def _made_here(self) -> None:
        self._pid = os.getpid()
        self.owner = str(uuid.uuid4())
        self._heartbeat = Heartbeat(self.ledger)
        self._runner = Runner(self.ledger, self.registry, self._heartbeat, self.settings, self._failpoints)

    @classmethod
    def from_env(cls, *, ring: Ring | None = None, **overrides: Any) -> Engine:
        """An engine by the SAGAWORKER_ variables, then keyword overrides; rings through SAGAWORKER_BROKER_URL if set."""
        settings = Settings.from_env(**overrides)
        if ring is None and settings.broker_url is not None:
            from sagaworker.doorbell.publisher import Doorbells

            ring = Doorbells.from_settings(settings).ring
        return cls(settings, ring=ring)

    def after_fork(self, owner: str | None = None) -> None:
        """In a forked child: leave the parent's connections alone, be a new owner, start a new heartbeat."""
        self.database.forget()
        self._made_here()
        if owner is not None:
            self.owner = owner

    def close(self) -> None:
        """End the heartbeat and close the connections. Holds of this process run out by their leases."""
        self._heartbeat.close()
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- starting ------------------------------------------------------------------------------------------------------

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
        """Start one saga: durable when this returns, then rung, best effort (the sweep rings what was not).

        Without `steps`, the list and the options of the kind's definition are taken, and the run is pinned to them.
        With `key`, the same (kind, key) again returns the existing run whatever its status, if its inputs are equal.
        With `connection` (SQLAlchemy Connection or Session, or psycopg connection) it exists if and only if the
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
            raise InvalidInput("wait must not be given with connection, got both", "wait after the commit")
        request = self._starts.checked(kind, steps, inputs=inputs, key=key, **options)
        if connection is not OWN:
            return self._starts.joining(connection, request)
        run = self._starts.one(request)
        return run if wait is None else self.wait(run.id, timeout=wait)

    def start_many(self, requests: Sequence[Mapping[str, Any]]) -> list[SagaRun]:
        """Start many sagas: each request holds the arguments of `start` (kind, steps, inputs, key, options).

        All requests are checked before any is stored. They are stored in order, in transactions of at most 500 runs
        and 16 MB, each wholly or not at all, and each is rung before the next is stored. Whatever ends the call, whole
        batches from the front are there and are rung, and nothing else: give keys, and call again.

        Raises:
            InvalidInput: a request is not acceptable, or two have the same kind and key; nothing was stored.
            KeyConflict: (kind, key) was started with other inputs; nothing of its batch was stored, nor of later ones.
        """
        return self._starts.many(requests)

    # -- ringing -------------------------------------------------------------------------------------------------------

    def ring(self, saga_id: str) -> None:
        """Send the doorbell of one saga, best effort. A bell too many is harmless, one too few is rung by the sweep."""
        run = self.get(self.id_of(saga_id, to_move=True))
        if not run.status.is_terminal:
            self.ring_all([Doorbell.of(run)])

    def ring_all(self, doorbells: Sequence[Doorbell]) -> bool:
        """Send doorbells, best effort: the ledger has them, and what is not rung here the sweep rings. Whether it worked."""
        if self._ring is None or not doorbells:
            return True
        try:
            self._ring(
                [bell if bell.ledger is not None else replace(bell, ledger=self.ledger_id) for bell in doorbells]
            )
        except Exception as exc:  # noqa: BLE001 - whatever the broker does, the sagas are stored
            log.warning("doorbells not rung: %d; the sweep will ring them: %s", len(doorbells), exc)
            return False
        return True

    @property
    def ledger_id(self) -> str | None:
        """The identity of the ledger, made by `migrate`; asked for once a minute. None while it has never been read."""
        if time.monotonic() >= self._ask_ledger_at:
            self._ask_ledger_at = time.monotonic() + ASKED_EVERY
            try:
                self._ledger_id = self.reads.identity()
            except REFUSAL as exc:
                log.debug("the ledger's identity is not known: %s", reason(exc))
        return self._ledger_id

    def ledger_id_now(self) -> str | None:
        """The same, asked for now: the database behind the URL may be another one since."""
        self._ask_ledger_at = 0.0
        return self.ledger_id

    # -- reading -------------------------------------------------------------------------------------------------------

    def id_of(self, name: str, *, to_move: bool = False) -> str:
        """The id of the saga that a name means: an id, its first letters, `kind[key]`, or `kind[the id's last six]`.

        Every method that takes a saga id takes these. A whole id costs no query. What changes a saga (`to_move`) takes
        a short name of the engine's own source_env only.

        Raises:
            InvalidInput: no saga has that name, or several have: they are listed.
        """
        return Finder(self.reads, self.settings.source_env).id_of(name, to_move=to_move)

    def get(self, saga_id: str) -> SagaRun:
        """One run with its context.

        Raises:
            SagaNotFound: no such run.
            InvalidInput: not an id.
        """
        saga_id = self.id_of(saga_id)
        run = self.reads.run(saga_id)
        if run is None:
            raise SagaNotFound(saga_id)
        return run

    def list(  # noqa: PLR0913 - one parameter for each filter
        self,
        *,
        status: str | Sequence[str] | None = None,
        kind: str | None = None,
        actor_id: str | None = None,
        key: str | None = None,
        conversation_id: str | None = None,
        limit: int = 50,
        offset: int = 0,
        order: str = "desc",
        exclude_archived: bool = False,
        needs_person: bool | None = None,
        since: datetime | timedelta | float | str | None = None,
    ) -> builtins.list[SagaRun]:
        """Runs, newest first unless order is "asc", without their contexts; at most 1,000 a page.

        `needs_person`: those of which `explain` says that nothing more happens without a person; False, the others.
        `since`: started then or later: an aware datetime, or a timedelta or seconds back from now by the database's
        clock; as text an ISO 8601 instant with its offset, or a duration such as "90s", "15m", "2h", "3d".
        """
        statuses = checked_statuses(status)
        checked_page(limit, offset, order)
        return self.reads.runs(
            statuses=statuses,
            kind=kind,
            actor_id=actor_id,
            key=key,
            conversation_id=conversation_id,
            limit=limit,
            offset=offset,
            descending=order == "desc",
            exclude_archived=exclude_archived,
            needs_person=needs_person,
            since=checked_since(since),
        )

    def list_step_results(self, saga_id: str) -> builtins.list[StepResult]:
        """The ledger rows of one saga, in order."""
        saga_id = self.id_of(saga_id)
        self._must_exist(saga_id)
        return self.reads.step_results(saga_id)

    def timeline(self, saga_id: str) -> Timeline:
        """Run, steps, episodes and journal of one saga, in one snapshot."""
        saga_id = self.id_of(saga_id)
        timeline = self.reads.timeline(saga_id)
        if timeline is None:
            raise SagaNotFound(saga_id)
        return timeline

    def wait(self, saga_id: str, *, timeout: float = 60.0) -> SagaRun:
        """Wait until the saga is terminal; at most `timeout` seconds.

        Raises:
            WaitTimeout: it is not terminal yet, and goes on.
        """
        until = time.monotonic() + timeout
        pause = 0.01
        while True:
            left = until - time.monotonic()
            try:
                run = self.get(saga_id)
                saga_id = run.id  # a short name costs a query
            except OUTAGE:  # the saga goes on when the database is back, and so does who waits for it
                if left <= 0:
                    raise
                time.sleep(min(pause, left))
                pause = min(pause * 1.5, 0.5)
                continue
            if run.status.is_terminal:
                return run
            if left <= 0:
                raise WaitTimeout(saga_id, run.status, timeout)
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, 0.5)

    def audit(self) -> builtins.list[Finding]:
        """Check every invariant of the ledger; an empty list is a sound ledger."""
        return audit.audit(self.database, sweep_interval=self.settings.sweep_interval)

    def check_schema(self) -> None:
        """Refuse a database whose tables are not those of this version."""
        version.check(self.database.engine, self.settings.schema)

    # -- moving --------------------------------------------------------------------------------------------------------

    def cancel(
        self, saga_id: str, reason: str | None = None, who: str | None = None, *, request: str | None = None
    ) -> CancelAnswer:
        """Ask for a cancel. An accepted cancel never ends `completed`. The journal keeps who asked and why, each time.

        "cancelled": nothing had begun, it is over. "requested": the running step finishes and then all is undone.
        "not_active": it is terminal or already undoing; nothing changed. With `request`, an id of the caller's own, the same
        request again does nothing and has the same answer.
        """
        saga_id = self.id_of(saga_id, to_move=True)
        for name, text in (("reason", reason), ("who", who), ("request", request)):
            if text is not None:
                checked_words(text, name)
        answer = self.ledger.cancel(saga_id, reason, who or None, request)
        if answer is None:
            self._must_exist(saga_id)
            return "not_active"
        status, is_flag = answer
        if status is RunStatus.ROLLED_BACK:
            return "cancelled"
        if not is_flag:
            self.ring(saga_id)
        return "requested"

    def upsert_step_result(
        self, saga_id: str, step_idx: int, *, fence: int, output: object = None, error: object = None
    ) -> None:
        """From inside a running step: note progress on its own row; a later attempt reads it as `state.checkpoint`.

        Raises:
            Fenced: another worker holds the saga, or the step is not running any more. Nothing was written.
        """
        note = checked_note({"output": output, "error": error}, "checkpoint", self.settings.max_output_bytes)
        self.ledger.checkpoint(checked_id(saga_id), step_idx, fence, note)

    def run(self, saga_id: str) -> SagaRun:
        """Walk the saga here and now, in this process, for one episode; return the run as it is then.

        An ordinary episode: claimed, with heartbeat, fenced. In the main thread TIMEOUT is enforced and Ctrl-C
        interrupts the step (its attempt is then in doubt) and is raised again; elsewhere TIMEOUT shows in
        `state.check_cancelled` only.
        """
        saga_id = self.id_of(saga_id, to_move=True)
        place = HostPlace() if threading.current_thread() is threading.main_thread() else None
        if place is None:
            end = self.run_episode(saga_id, place=ThreadPlace())
        else:
            end = self.run_episode(saga_id, place=place, should_stop=lambda: place.was_interrupted)
            # Or a saga that one of its steps walked was: the Ctrl-C is the same.
            if place.was_interrupted or end.outcome == "interrupted":
                raise KeyboardInterrupt
        return end.run or self.get(saga_id)

    def run_episode(
        self,
        saga_id: str,
        *,
        place: Place,
        should_stop: Callable[[], bool] = lambda: False,
        entered: Callable[[Doorbell, RunStatus], None] | None = None,
        task_id: str | None = None,
    ) -> EpisodeEnd:
        """Claim and walk one saga: what one doorbell does. Rings when it lets go of a saga that may go on."""
        if self._pid != os.getpid():
            self.after_fork()
        claimer = Claimer(owner=self.owner, pid=os.getpid(), task_id=task_id)
        observer = Observer(should_stop=should_stop, entered=entered)
        end = self._runner.run_episode(checked_id(saga_id), claimer, place, observer)
        metrics.count_episode(end.outcome)
        if end.outcome in ("yielded", "interrupted", "stopping") and end.doorbell is not None:
            self.ring_all([end.doorbell])
        return end

    def _must_exist(self, saga_id: str) -> None:
        if not self.reads.runs_by_id([checked_id(saga_id)]):
            raise SagaNotFound(saga_id)
