"""Episodes as others see them: loaded, claimed, extended; and what a running step notes."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from psycopg.rows import DictRow

from sagaworker.domain.records import SagaRun
from sagaworker.domain.status import StepStatus
from sagaworker.domain.values import Json
from sagaworker.domain.walk import Position, Row
from sagaworker.errors import Fenced
from sagaworker.ledger.area import Area
from sagaworker.ledger.claim import Claim, position_of
from sagaworker.ledger.lease import Lease
from sagaworker.ledger.line import UNKNOWN, Line
from sagaworker.ledger.reads import run_of
from sagaworker.ledger.session import Connection
from sagaworker.ledger.statements import execute, execute_locked
from sagaworker.ledger.step_transaction import StepTransaction

RESEND_AFTER = 0.05  # seconds between two tries while the database is away


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
class Beat:
    """What a heartbeat learned of one claim. Not extended: its attempt has outlived its deadline and grace, or somebody
    else has its row locked.
    """

    is_extended: bool
    cancel_requested: bool


class LedgerEpisodes(Area):
    """Claims, leases and checkpoints."""

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
        return (
            None if row is None else self._claim_of(line, claimer, lease, seen.id, position_of(row, row["fence"]), row)
        )

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
        return run, self._claim_of(line, claimer, lease, told.id, position, row)

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

    def _claim_of(
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

    def step_transaction(self, timeout: timedelta) -> StepTransaction:
        """The transaction of one attempt of a TRANSACTIONAL step."""
        return StepTransaction(self.database, timeout=timeout, grace=self.periods.grace)

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
