"""The facade that users, tasks and commands call."""

from __future__ import annotations

import builtins
import json
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal, Self, TypeVar, cast

from sagaworker import metrics
from sagaworker.definitions import Definitions, LoadedDefinitions
from sagaworker.domain.definition import Definition
from sagaworker.domain.records import Doorbell, Finding, SagaRun, StepResult, SweepResult, Timeline
from sagaworker.domain.recovery import RecoverResult, Scope
from sagaworker.domain.status import RunStatus
from sagaworker.domain.values import Json, checked_object
from sagaworker.errors import InvalidInput, InvalidSetting, KeyConflict, SagaNotFound, WaitTimeout
from sagaworker.failpoints import Failpoints
from sagaworker.heartbeat import Heartbeat
from sagaworker.ledger import audit, migrate
from sagaworker.ledger.connection import Database
from sagaworker.ledger.defined import DefinitionStore
from sagaworker.ledger.faults import cursor_class
from sagaworker.ledger.hold import Periods
from sagaworker.ledger.joining import Joined, join
from sagaworker.ledger.moves import Claimer, Ledger, NewRun
from sagaworker.ledger.operating import Operating
from sagaworker.ledger.reads import Reads
from sagaworker.operators import OperatorMoves
from sagaworker.policies import ResolvePolicy
from sagaworker.recovery import Recovery, Ring
from sagaworker.registry import Registry
from sagaworker.requests import Requests, checked_id
from sagaworker.runner import EpisodeEnd, HostPlace, Observer, Place, Runner, ThreadPlace
from sagaworker.settings import Settings

log = logging.getLogger(__name__)

CancelAnswer = Literal["requested", "rolled_back", "not_active"]
STATUSES = tuple(status.value for status in RunStatus)
START_BATCH = 500
FROM_SETTINGS: str = "\0"  # an argument that was not given; no stack or environment has this name
Part = TypeVar("Part")


class Engine(OperatorMoves):
    """Durable sagas over one ledger. Safe between threads, and in a forked child, which is an owner of its own.

    >>> engine = Engine.from_env()                                                      # doctest: +SKIP
    >>> run = engine.start("checkout", ["steps.reserve", "steps.charge_card"], inputs={"card": "tok_1"}, key="order-42")
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
        self._failpoints = failpoints or Failpoints.from_env()
        hurt = cursor_class(self._failpoints) if self._failpoints else None
        self.database = Database(self.settings.database_url, cursor_class=hurt)
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
        self._requests = Requests(self.settings, self.registry)
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
            from sagaworker.doorbell import Doorbells

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
        connection: object = None,
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
        if wait is not None and connection is not None:
            raise InvalidInput("wait must not be given with connection, got both", "wait after the commit")
        request = self._request(kind, steps, inputs=inputs, key=key, **options)
        if connection is not None:
            joined = join(connection, self.database)
            run = self._stored([request], joined)[0]
            bells = [_doorbell(run)] if run.status is RunStatus.PENDING else []
            joined.after_commit(lambda: self.ring_all(bells))
            return run
        self._failpoints.hit("start.before")
        run = self._stored([request], None)[0]
        self._failpoints.hit("start.after")
        self.ring_all([_doorbell(run)] if run.status is RunStatus.PENDING else [])
        return run if wait is None else self.wait(run.id, timeout=wait)

    def start_many(self, requests: Sequence[Mapping[str, Any]]) -> list[SagaRun]:
        """Start many sagas: each request holds the arguments of `start` (kind, steps, inputs, key, options).

        All requests are checked before any is stored. They are stored in transactions of 500, each wholly or not at
        all, so after an interruption a prefix is there: give keys, and call again.
        """
        checked = [self._request(**_as_arguments(request, idx)) for idx, request in enumerate(requests)]
        runs: list[SagaRun] = []
        for begin in range(0, len(checked), START_BATCH):
            batch = self._stored(checked[begin : begin + START_BATCH], None)
            self.ring_all([_doorbell(run) for run in batch if run.status is RunStatus.PENDING])
            runs += batch
        return runs

    def _request(self, kind: str, steps: Sequence[str | Mapping[str, Any]] | None = None, **options: Any) -> NewRun:
        if steps is not None:
            return self._requests.checked(kind, steps, **options)
        definition = self.definitions.to_start(kind, options.get("actor_id"))
        return self._requests.checked(kind, definition.steps, definition=definition, **options)

    def _stored(self, requests: Sequence[NewRun], joined: Joined | None) -> list[SagaRun]:
        twice = _first_twice(requests)
        if twice is not None:
            raise InvalidInput(f"keys must be unique in one call, got {twice[1]!r} of kind {twice[0]!r} twice")
        stored = self.ledger.start(requests, joined.driver if joined else None)
        met = [request for request in requests if request.id not in stored]
        existing = self._existing(met, joined)
        return [_pending_run(r) if r.id in stored else existing[r.id] for r in requests]

    def _existing(self, requests: Sequence[NewRun], joined: Joined | None) -> dict[str, SagaRun]:
        """The runs that were there before, by the id of the request that met them."""
        if not requests:
            return {}
        met = self.ledger.met(requests, joined.driver if joined else None)
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

    # -- ringing -------------------------------------------------------------------------------------------------------

    def ring(self, saga_id: str) -> None:
        """Send the doorbell of one saga, best effort. A bell too many is harmless, one too few is rung by the sweep."""
        run = self.get(saga_id)
        if not run.status.is_terminal:
            self.ring_all([_doorbell(run)])

    def ring_all(self, doorbells: Sequence[Doorbell]) -> None:
        """Send doorbells, best effort: the ledger has them, and what is not rung here the sweep rings."""
        if self._ring is None or not doorbells:
            return
        try:
            self._ring(doorbells)
        except Exception as exc:  # noqa: BLE001 - whatever the broker does, the sagas are stored
            log.warning("doorbells not rung: %d; the sweep will ring them: %s", len(doorbells), exc)

    # -- reading -------------------------------------------------------------------------------------------------------

    def get(self, saga_id: str) -> SagaRun:
        """One run with its context.

        Raises:
            SagaNotFound: no such run.
            InvalidInput: not an id.
        """
        run = self.reads.run(checked_id(saga_id))
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
    ) -> builtins.list[SagaRun]:
        """Runs, newest first unless order is "asc", without their contexts; at most 1,000 a page."""
        wanted = [status] if isinstance(status, str) else [*(status or ())]
        unknown = [one for one in wanted if one not in STATUSES]
        if unknown:
            raise InvalidInput(f"status must be one of {', '.join(STATUSES)}, got {unknown[0]!r}")
        if order not in ("asc", "desc"):
            raise InvalidInput(f"order must be asc or desc, got {order!r}")
        if not 1 <= limit <= 1000 or offset < 0:  # noqa: PLR2004 - the page size in the docstring
            raise InvalidInput(f"limit must be 1 to 1000 and offset at least 0, got {limit} and {offset}")
        return self.reads.runs(
            statuses=[RunStatus(one) for one in wanted],
            kind=kind,
            actor_id=actor_id,
            key=key,
            conversation_id=conversation_id,
            limit=limit,
            offset=offset,
            descending=order == "desc",
            exclude_archived=exclude_archived,
        )

    def list_step_results(self, saga_id: str) -> builtins.list[StepResult]:
        """The ledger rows of one saga, in order."""
        self._must_exist(saga_id)
        return self.reads.step_results(saga_id)

    def timeline(self, saga_id: str) -> Timeline:
        """Run, steps, episodes and journal of one saga, in one snapshot."""
        timeline = self.reads.timeline(checked_id(saga_id))
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
            run = self.get(saga_id)
            if run.status.is_terminal:
                return run
            left = until - time.monotonic()
            if left <= 0:
                raise WaitTimeout(saga_id, run.status, timeout)
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, 0.5)

    def audit(self) -> builtins.list[Finding]:
        """Check every invariant of the ledger; an empty list is a sound ledger."""
        return audit.audit(self.database, sweep_interval=self.settings.sweep_interval)

    def check_schema(self) -> None:
        """Refuse a database whose tables are not those of this version."""
        migrate.check(self.database.engine)

    # -- moving --------------------------------------------------------------------------------------------------------

    def cancel(self, saga_id: str, reason: str | None = None) -> CancelAnswer:
        """Ask for a cancel. An accepted cancel never ends `completed`.

        "rolled_back": nothing had begun, it is over. "requested": the running step finishes and then all is undone.
        "not_active": it is terminal or already undoing; nothing changed.
        """
        checked_id(saga_id)
        if reason is not None and (not isinstance(reason, str) or "\x00" in reason or len(reason) > 2000):  # noqa: PLR2004
            raise InvalidInput(f"reason must be text of at most 2000 characters, got {reason!r:.80}")
        answer = self.ledger.cancel(saga_id, reason)
        if answer is None:
            self._must_exist(saga_id)
            return "not_active"
        status, is_flag = answer
        if status is RunStatus.ROLLED_BACK:
            return "rolled_back"
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
        note: dict[str, Json] = checked_object({"output": output, "error": error}, "checkpoint")
        size = len(json.dumps(note))
        if size > self.settings.max_output_bytes:
            raise InvalidInput(f"checkpoint must be at most {self.settings.max_output_bytes} bytes of JSON, got {size}")
        self.ledger.checkpoint(checked_id(saga_id), step_idx, fence, note)

    def run(self, saga_id: str) -> SagaRun:
        """Walk the saga here and now, in this process, for one episode; return the run as it is then.

        An ordinary episode: claimed, with heartbeat, fenced. In the main thread TIMEOUT is enforced and Ctrl-C
        interrupts the step (its attempt is then in doubt) and is raised again; elsewhere TIMEOUT shows in
        `state.check_cancelled` only.
        """
        checked_id(saga_id)
        place = HostPlace() if _is_main_thread() else None
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
        if end.outcome in ("yielded", "interrupted") and end.doorbell is not None:
            self.ring_all([end.doorbell])
        return end

    # -- recovering ----------------------------------------------------------------------------------------------------

    def load_definitions(self) -> LoadedDefinitions:
        """Import the modules of the allowed step packages, register the definitions they declare, and store them."""
        return self.definitions.load()

    def sweep(
        self,
        *,
        stale_after: timedelta | float = 0.0,
        resolve_policy: ResolvePolicy | None = None,
        source_stack: str | None = FROM_SETTINGS,
        source_env: str | None = FROM_SETTINGS,
        actor_registry: Iterable[Definition] = (),
    ) -> SweepResult:
        """Take over orphans and ring what is due, of one stack and environment; counts of what was done.

        The policy of an orphan: what `resolve_policy(run)` answers, else that of its definition (those of
        `actor_registry` win over the loaded ones, and these over the database's), else the run's own, else `fail`.
        `source_stack` takes its own runs and those without one, None takes all; `source_env` takes exactly its own,
        None those without one. Both default to the settings. `stale_after`: leave alone what is younger than that.
        """
        return self.recovery.sweep(
            self._scope(source_stack, source_env),
            stale_after=_duration(stale_after),
            resolve_policy=resolve_policy,
            actor_registry=actor_registry,
        )

    def sweep_tick(self) -> SweepResult:
        """The beat's sweep, in the scope of the settings: of any number of beats, one sweeps in a tick."""
        return self.recovery.tick(self._scope())

    def sweep_if_overdue(self) -> SweepResult | None:
        """Sweep if no sweep of this scope began for three ticks; None if one did."""
        return self.recovery.sweep_if_overdue(self._scope())

    def ring_due(self) -> int:
        """Wake what is due and ring what waits for a lost doorbell, in the scope of the settings; how many."""
        return self.recovery.ring_due(self._scope())

    def recover(self) -> RecoverResult:
        """What a worker does once when it starts: load definitions, check statuses against the journal, sweep, ring.

        Each part is by itself: what fails in one is logged and told of in `problems`, and the next one is done.
        """
        problems: list[str] = []

        def part(name: str, do: Callable[[], Part], otherwise: Part) -> Part:
            try:
                return do()
            except Exception as exc:
                log.exception("recover: %s failed", name)
                problems.append(f"{name}: {type(exc).__name__}: {exc}")
                return otherwise

        loaded = part("definitions", self.load_definitions, LoadedDefinitions())
        mismatched = part("journal", self.recovery.mismatched, 0)
        swept = part("sweep", self.sweep, SweepResult())
        result = RecoverResult(
            definitions=len(loaded.definitions),
            mismatched=mismatched,
            sweep=swept,
            problems=(*loaded.problems, *problems),
        )
        log.info("recovered: %s", dict(result.counts))
        return result

    def list_stale_running(
        self,
        *,
        stale_after: timedelta | float = 0.0,
        source_stack: str | None = FROM_SETTINGS,
        source_env: str | None = FROM_SETTINGS,
        limit: int = 100,
    ) -> builtins.list[SagaRun]:
        """Runs that a sweep with these arguments would take over or ring, without their contexts. Changes nothing."""
        scope = self._scope(source_stack, source_env)
        ids = self.recovery.stale(scope, stale_after=_duration(stale_after), limit=limit)
        found = self.reads.runs_by_id(ids)
        return [found[saga_id] for saga_id in ids if saga_id in found]

    def claim_for_recovery(self, saga_id: str) -> Literal["ok", "already_claimed"]:
        """Claim one abandoned saga and ring it: of any number of callers one gets "ok".

        "already_claimed": somebody was first, its worker lives, it waits for something, or it is over.
        """
        return self.recovery.claim(self.get(saga_id))

    def take_over_dead(self, owner: str) -> int:
        """For the local witness: take over what a dead process of this machine held; how many."""
        return self.recovery.take_over_dead(owner)

    def _scope(self, source_stack: str | None = FROM_SETTINGS, source_env: str | None = FROM_SETTINGS) -> Scope:
        return Scope(
            source_stack=self.settings.source_stack if source_stack is FROM_SETTINGS else source_stack,
            source_env=self.settings.source_env if source_env is FROM_SETTINGS else source_env,
        )

    def _must_exist(self, saga_id: str) -> None:
        if not self.reads.runs_by_id([checked_id(saga_id)]):
            raise SagaNotFound(saga_id)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _duration(value: timedelta | float) -> timedelta:
    return value if isinstance(value, timedelta) else timedelta(seconds=float(value))


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


def _doorbell(run: SagaRun) -> Doorbell:
    return Doorbell(
        saga_id=run.id,
        kind=run.kind,
        key=run.key,
        step_idx=run.current_step_idx,
        step_count=len(run.step_modules),
        queue=run.queue,
        priority=run.priority,
    )
