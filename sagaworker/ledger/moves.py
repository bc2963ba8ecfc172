"""The moves of everybody who holds nothing: start, claim, cancel, take over, wake, ring; and the heartbeat's lease."""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import psycopg
from psycopg.rows import DictRow

from sagaworker.domain.records import Doorbell, SagaRun
from sagaworker.domain.status import RunStatus, StepStatus
from sagaworker.domain.values import Json
from sagaworker.domain.walk import Position, Row
from sagaworker.errors import Fenced
from sagaworker.ledger import prepared
from sagaworker.ledger.claim import Claim, Periods, position_of
from sagaworker.ledger.connection import Connection, Database, execute, execute_locked, execute_one
from sagaworker.ledger.lease import Lease
from sagaworker.ledger.line import UNKNOWN, Line
from sagaworker.ledger.reads import run_of
from sagaworker.ledger.step_transaction import StepTransaction

_OF_JSON = frozenset({"step_modules", "inputs", "trigger_ref", "overrides", "trace", "attributes"})
RESEND_AFTER = 0.05  # seconds between two tries while the database is away


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What a claimer read before it claims, and whether it may. The list and the inputs are frozen since the start."""

    run: SagaRun
    is_claimable: bool
    rings: int  # doorbells since somebody last claimed it that nobody is known to have heard


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimer:
    """Who claims: one uuid a process, made anew after a fork."""

    owner: str
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    task_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphan:
    """An open episode that may be taken over, as read without locks."""

    saga_id: str
    fence: int
    kind: str
    actor_id: str | None
    recovery_policy: str | None
    status: RunStatus
    lease_until: str = ""  # as the database spells it: only ever given back to it


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """What a heartbeat learned of one claim. Not extended: its attempt has outlived its deadline and grace, or somebody
    else has its row locked.
    """

    is_extended: bool
    cancel_requested: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenOver:
    """One takeover that happened: under which policy, and the doorbell to ring when it may run."""

    policy: str
    status: RunStatus
    doorbell: Doorbell | None


class Ledger:
    """The ledger's open moves. Each is atomic and leaves exactly one journal row per saga it changed."""

    def __init__(self, database: Database, periods: Periods) -> None:
        self.database = database
        self.periods = periods

    def start(self, runs: Sequence[NewRun], connection: psycopg.Connection[Any] | None = None) -> set[str]:
        """Store pending runs; return the ids stored. One that is missing met its own id or its (kind, key).

        On the caller's connection it joins the caller's transaction. Otherwise it commits, and where the commit's
        acknowledgement is lost it is sent again: the ids are the caller's, so a second landing stores nothing.
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
        """The runs that these requests met instead of being stored, as the same transaction sees them."""
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

    def load(self, saga_id: str, line: Line) -> Loaded | None:
        """Read what a claimer needs; None when there is no such run."""
        row = line.read("load", {"saga_id": saga_id})
        return None if row is None else Loaded(run=run_of(row), is_claimable=row["is_claimable"], rings=row["rings"])

    def claim(
        self,
        seen: SagaRun,
        claimer: Claimer,
        line: Line,
        *,
        step_name: str,
        timeout: timedelta,
        undo_timeout: timedelta,
        doubts: bool = True,
    ) -> Claim | None:
        """Open an episode and, where the next step may simply begin, begin it. None: somebody else was first.

        `doubts`: a step left running may have happened; false for one whose transaction died with its worker.
        A claim whose acknowledgement was lost is looked up by its fence and owner; the runner claims a saga at most
        once at a time in one process, so an open episode of ours under the next fence is this claim.
        """
        lease = Lease(duration=self.periods.lease)
        parameters = self._of_claim(claimer, step_name, timeout) | {
            "saga_id": seen.id,
            "seen_fence": seen.fence,
            "seen_status": seen.status,
            "idx": seen.current_step_idx,
            "undo_timeout": undo_timeout,
            "doubts": doubts,
        }
        row = self._claimed("claim", parameters, seen, claimer, line, lease)
        return None if row is None else self._hold(line, claimer, lease, seen.id, position_of(row, row["fence"]), row)

    def claim_first(
        self, told: SagaRun, claimer: Claimer, line: Line, *, step_name: str, timeout: timedelta
    ) -> tuple[SagaRun, Claim] | None:
        """Claim a saga that nobody has claimed yet and begin its first step, as `claim` does but for the read before it.

        Of `told`, which may be old or wrong, only the id and the list are used, and the list is proved. The run that
        comes back is the ledger's. None: it cannot be claimed so; to read it tells why.
        """
        lease = Lease(duration=self.periods.lease)
        parameters = self._of_claim(claimer, step_name, timeout) | {
            "saga_id": told.id,
            "idx": 0,
            "step_modules": json.dumps(told.step_modules),
        }
        row = self._claimed("claim_first", parameters, told, claimer, line, lease)
        if row is None:
            return None
        if "step_modules" in row:
            begun = Row(status=StepStatus.RUNNING, attempts=1, begun_here=True, deadline_at=row["step_deadline_at"])
            run = run_of(row)
            position = Position(status=run.status, idx=0, row=begun, max_recoveries=run.max_recoveries)
        else:  # it landed unseen
            loaded = self.load(told.id, line)
            assert loaded is not None
            run, position = loaded.run, position_of(row, row["fence"])
        return run, self._hold(line, claimer, lease, told.id, position, row)

    def _of_claim(self, claimer: Claimer, step_name: str, timeout: timedelta) -> dict[str, Any]:
        return {
            "step_name": step_name,
            "timeout": timeout,
            "owner": claimer.owner,
            "host": claimer.host,
            "pid": claimer.pid,
            "task_id": claimer.task_id,
            "lease": self.periods.lease,
            "grace": self.periods.grace,
        }

    def _hold(
        self, line: Line, claimer: Claimer, lease: Lease, saga_id: str, position: Position, row: Mapping[str, Any]
    ) -> Claim:
        """What was claimed. Also where the answer came too late for the lease: the holder begins nothing and lets go."""
        return Claim(
            line,
            saga_id=saga_id,
            fence=row["fence"],
            owner=claimer.owner,
            position=position,
            lease=lease,
            periods=self.periods,
        )

    def _claimed(
        self, name: str, parameters: dict[str, Any], seen: SagaRun, claimer: Claimer, line: Line, lease: Lease
    ) -> dict[str, Any] | None:
        """The row of the claim; tries on through an outage, for no longer than the lease would be."""
        is_resend = False
        while True:
            try:
                row = line.one(name, parameters)
                # No row back from a resend may mean that the first send has landed meanwhile.
                return row if row is not None or not is_resend else self._landed_claim(seen, claimer)[0]
            except UNKNOWN as exc:
                line.lost(exc)
                is_resend = True
                if lease.is_lost:
                    raise
            try:
                row, is_known = self._landed_claim(seen, claimer)
            except UNKNOWN:
                time.sleep(RESEND_AFTER)
                continue
            if is_known:
                return row

    def _landed_claim(self, seen: SagaRun, claimer: Claimer) -> tuple[DictRow | None, bool]:
        """After a lost line: (row, True) where the claim landed, (None, True) where another did, (None, False) neither."""
        fence = seen.fence + 1
        found = self.database.retried("position", {"saga_id": seen.id, "fence": fence, "owner": claimer.owner})
        if not found or found[0]["fence"] == seen.fence:
            return None, False
        is_ours = found[0]["fence"] == fence and found[0]["is_open"]
        return (found[0] if is_ours else None), True

    def cancel(
        self, saga_id: str, reason: str | None, who: str | None = None, request: str | None = None
    ) -> tuple[RunStatus, bool] | None:
        """Ask for a cancel: (status after, whether it was only flagged), or None when the saga is not active.

        A saga that is asked again keeps its first reason, and its journal gets a row for each that asked.
        """
        parameters: dict[str, Any] = {
            "saga_id": saga_id,
            "reason": reason,
            "who": who,
            "request": request or str(uuid.uuid4()),
            "ring_after": self.periods.ring_after,
        }
        try:
            if request is not None:
                return self._cancelled(
                    self.database.again(lambda connection: self._cancel_again(connection, parameters))
                )
            with self.database.checkout() as connection:
                row = execute_locked(connection, "cancel", parameters)
        except UNKNOWN:
            row = self.database.again(lambda connection: self._cancel_again(connection, parameters))
        return self._cancelled(row)

    @staticmethod
    def _cancelled(row: DictRow | None) -> tuple[RunStatus, bool] | None:
        return None if row is None else (RunStatus(row["status"]), row["flag_only"])

    def _cancel_again(self, connection: Connection, parameters: dict[str, Any]) -> DictRow | None:
        """Send it again, unless it is on record. The lock waits for a first send that is still on its way."""
        with connection.transaction():
            execute(connection, "lock_run", parameters)
            landed = execute_one(connection, "operated", parameters)
            if landed is not None:
                return {**landed, "flag_only": landed["status"] in (RunStatus.PENDING, RunStatus.RUNNING)}
            return execute_one(connection, "cancel", parameters)

    def checkpoint(self, saga_id: str, step_idx: int, fence: int, checkpoint: Json) -> None:
        """Note progress on the running row that `fence` holds.

        Raises:
            Fenced: the fence is stale, or that step is not the running one. Nothing was written.
        """
        parameters = {
            "saga_id": saga_id,
            "idx": step_idx,
            "fence": fence,
            "checkpoint": json.dumps(checkpoint),
        }
        row = self.database.again(lambda connection: execute_locked(connection, "checkpoint", parameters))
        if row is None:
            raise Fenced(saga_id, fence)

    def owned(self, owner: str, connection: Connection) -> list[Orphan]:
        """Open episodes of one owner, read on a connection of the local witness."""
        return [orphan_of(row) for row in execute(connection, "owned", {"owner": owner})]

    def take_over(
        self,
        orphans: Sequence[tuple[Orphan, str]],
        *,
        witnessed: bool,
        has_spawned: bool = False,
        stale_after: timedelta = timedelta(0),
        connection: Connection | None = None,
    ) -> list[TakenOver]:
        """Take orphans over, each under its policy; those that are none any more are left out.

        The fence rises and the episode closes in the same commit that applies the policy, so of any number of
        sweepers one takes an orphan over, and the old holder writes nothing any more.
        """
        if connection is None:
            return self.database.again(
                lambda own: self.take_over(
                    orphans, witnessed=witnessed, has_spawned=has_spawned, stale_after=stale_after, connection=own
                )
            )
        parameters: dict[str, Any] = {
            "saga_ids": [orphan.saga_id for orphan, _ in orphans],
            "fences": [orphan.fence for orphan, _ in orphans],
            "policies": [policy for _, policy in orphans],
            "witnessed": witnessed,
            "may_go_on": not witnessed or has_spawned,
            "stale_after": stale_after,
            "outcome": "died" if witnessed else "orphaned",
            "ring_after": self.periods.ring_after,
            "grace": self.periods.grace,
        }
        with connection.transaction():
            locked = execute(connection, "lock_orphans", parameters)
            if not locked:
                return []
            rows = execute(connection, "take_over", parameters | {"locked": [row["id"] for row in locked]})
        return [_taken_over(row) for row in rows]

    def step_transaction(self, timeout: timedelta) -> StepTransaction:
        """The transaction of one attempt of a TRANSACTIONAL step."""
        return StepTransaction(self.database, timeout=timeout, grace=self.periods.grace)

    def take_over_own(self, claim: Claim) -> None:
        """Give up a claimed saga whose step was interrupted: as if this process had died in it, and counted so."""
        orphan = Orphan(
            saga_id=claim.saga_id,
            fence=claim.fence,
            kind="",
            actor_id=None,
            recovery_policy=None,
            status=claim.position.status,
        )
        self.take_over([(orphan, "restart")], witnessed=True)

    def pass_over(self, saga_id: str, fence: int, reason: str, *, step: str | None = None, pace: bool = False) -> bool:
        """Journal why a saga cannot be run or recovered now, and who tried; whether that made a new row.

        Tried again with nothing in between, the row of the first try is kept current: its reason, tries and last_at.
        `step`: the one that could not be loaded. With `pace`, a saga that is due is not looked at again for five
        minutes. Nothing happens when the fence is stale.
        """
        row = self._noted(saga_id, fence, reason, step=step, pace=pace, importing=False)
        return row is not None and bool(row["is_new"])

    def identity(self, connection: Connection) -> str | None:
        """The identity of the ledger; None where it cannot be read."""
        try:
            row = execute_one(connection, "identity", {})
        except psycopg.Error:
            return None
        return None if row is None else str(row["id"])

    def importing(self, saga_id: str, fence: int, step: str) -> int:
        """Journal that a step is about to be imported, which may end this process; how often that was noted in a row."""
        reason = f"step {step!r} must be importable, got an import that has not ended, or that ended its process"
        row = self._noted(saga_id, fence, reason, step=step, pace=False, importing=True)
        return 0 if row is None else int(row["imports"])

    def _noted(
        self, saga_id: str, fence: int, reason: str, *, step: str | None, pace: bool, importing: bool
    ) -> DictRow | None:
        parameters: dict[str, Any] = {
            "saga_id": saga_id,
            "fence": fence,
            "reason": reason.replace("\0", "")[:2000],
            "step": step,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "pace": pace,
            "importing": importing,
        }
        return self.database.again(lambda connection: execute_locked(connection, "pass_over", parameters))

    def extend(self, held: Sequence[tuple[str, int]], connection: Connection) -> dict[tuple[str, int], Beat]:
        """Extend leases. What comes back, by (saga_id, fence), is still held; the others are fenced."""
        ordered = sorted(held)
        parameters = {
            "saga_ids": [saga_id for saga_id, _ in ordered],
            "fences": [fence for _, fence in ordered],
            "lease": self.periods.lease,
            "grace": self.periods.grace,
        }
        rows = execute(connection, "heartbeat", parameters)
        return {
            (row["saga_id"], row["fence"]): Beat(
                is_extended=row["is_extended"], cancel_requested=row["cancel_requested"]
            )
            for row in rows
        }


def orphan_of(row: DictRow) -> Orphan:
    """The record of a row of expired.sql or owned.sql."""
    return Orphan(**{**row, "status": RunStatus(row["status"])})


def _taken_over(row: DictRow) -> TakenOver:
    status = RunStatus(row["status"])
    doorbell = {name: row[name] for name in ("saga_id", "kind", "key", "queue", "priority", "step_idx", "step_count")}
    may_run = not status.is_terminal and row["waiting_for"] is None
    bell = Doorbell(goes_first=True, **doorbell) if may_run else None
    return TakenOver(policy=row["policy"], status=status, doorbell=bell)
