"""A claim: one episode of one saga, and the moves of the worker that has it.

Each move proves its fence, and an unknown commit is resolved before anything else happens.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeAlias, TypeVar

import psycopg

from sagaworker.domain.changed import changed
from sagaworker.domain.status import RunStatus, StepStatus, WaitingFor
from sagaworker.domain.values import Json
from sagaworker.domain.walk import Fail, Position, RecordUndo, Retry, Row
from sagaworker.errors import Fenced
from sagaworker.ledger.lease import Lease
from sagaworker.ledger.line import UNKNOWN, Line
from sagaworker.ledger.step_transaction import StepTransaction, TransactionLost

_Run: TypeAlias = Callable[[str, dict[str, Any]], dict[str, Any] | None]  # sends a statement file, gives its only row
_Known = TypeVar("_Known")

_BEGUN = Row(status=StepStatus.RUNNING, attempts=1, begun_here=True)
BEGIN_TRIES = 20  # holds and releases that may come between a refused begin and the look at why


@dataclass(frozen=True, slots=True, kw_only=True)
class Periods:
    """The durations that moves write, from the settings."""

    lease: timedelta
    grace: timedelta
    ring_after: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Following:
    """The step after the current one, as advance records it; None of it when the current one is the last."""

    name: str
    timeout: timedelta


def position_of(row: dict[str, Any], fence: int) -> Position:
    """The position in a row of claim.sql or position.sql."""
    status = StepStatus(row["row_status"])
    return Position(
        status=RunStatus(row["status"]),
        idx=row["idx"],
        max_recoveries=row["max_recoveries"],
        cancel_requested=row["cancel_requested"],
        deadline_passed=row["deadline_passed"],
        on_hold=row["on_hold"],
        row=Row(
            status=status,
            attempts=row["attempts"],
            failed_attempts=row["failed_attempts"],
            in_doubt=row["in_doubt"],
            recoveries=row["recoveries"],
            compensation_attempts=row["compensation_attempts"],
            compensation_recoveries=row["compensation_recoveries"],
            has_completed=row["has_completed"],
            begun_here=status is StepStatus.RUNNING and row["deadline_at"] is not None and row["row_fence"] == fence,
            quarantine=row["quarantine"],
            deadline_at=row["deadline_at"],
            checkpoint=row["checkpoint"],
        ),
    )


def _signature(position: Position, *, is_open: bool) -> tuple[object, ...]:
    """What every move of a holder changes, and nobody without the fence does: tells landed from lost."""
    row = position.row
    return (position.status, position.idx, row.status, row.attempts, row.compensation_attempts, is_open)


class Unrecordable(Exception):
    """The server refused what a move would have written. Nothing of it landed, and the same again would be refused."""

    def __init__(self, cause: psycopg.Error) -> None:
        super().__init__(cause)
        self.cause = cause


def _is_refusal(error: psycopg.Error) -> bool:
    """Whether the statement was refused for what it says: 54 is too much of something, and looks operational."""
    return not isinstance(error, UNKNOWN) or (error.sqlstate or "").startswith("54")


class Claim:
    """One episode of one saga, held through its fence. Not safe between threads: the runner walks alone.

    Every method either lands its move exactly once, leaving `position` as the ledger has it, or raises `Fenced`, or
    `Unrecordable`, having written nothing. A commit whose acknowledgement was lost is resolved by reading the run and its row together
    (docs/protocol.md, rule 3); while the database cannot be reached the method tries on until the lease's local
    deadline has passed, and then gives the saga up.
    """

    def __init__(
        self,
        line: Line,
        *,
        saga_id: str,
        fence: int,
        owner: str,
        position: Position,
        lease: Lease,
        periods: Periods,
    ) -> None:
        self.saga_id = saga_id
        self.fence = fence
        self.owner = owner
        self.position = position
        self.lease = lease
        self.is_open = True
        self.completed: Mapping[str, Any] | None = None  # what the saga's completion set on its run, when it is known
        self._line = line
        self._periods = periods

    def outputs(self) -> list[tuple[int, dict[str, Json]]]:
        """The outputs on record, in order of the steps. Nobody without the fence adds to them."""
        return [(row["step_idx"], row["output"]) for row in self._rows("outputs", {"saga_id": self.saga_id})]

    def doubted_itself(self) -> bool:
        """Whether an attempt of the current step ended in doubt by what it did, and not by what became of its worker."""
        rows = self._rows("doubted", {"saga_id": self.saga_id, "idx": self.position.idx})
        return bool(rows[0]["is_doubted"])

    def _rows(self, name: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
        """What nobody without the fence changes."""
        return self._asked(lambda: self._line.rows(name, parameters))

    def _asked(self, ask: Callable[[], _Known]) -> _Known:
        """What a read answers; tries until it is known or the lease is over."""
        wait = 0.05
        while True:
            try:
                return ask()
            except UNKNOWN as exc:
                self._line.lost(exc)
                self._pause(wait)
                wait = min(wait * 2, 1.0)

    def close(self) -> None:
        """Give the connection back. Does not touch the ledger."""
        self._line.close()

    def advance(
        self,
        output: str,
        *,
        following: Following | None,
        begin_next: bool,
        undo_timeout: timedelta,
        context: Callable[[], str],
        within: StepTransaction | None = None,
    ) -> Position:
        """Complete the current step with its output (JSON text), and begin the next one or complete the saga.

        `context` gives the fold of all outputs, this one included, as JSON text; asked when the saga completes.
        One round trip and one commit. With `begin_next` false the next step is recorded and not begun. Where a cancel,
        the run's deadline or a hold committed first, the position that comes back shows what became of it.
        With `within` it is one commit with what the step wrote in that transaction.

        Raises:
            TransactionLost, TransactionRefused: with `within`, nothing of the step or the move was committed.
            TransactionEnded: with `within`, the step had ended it; what it wrote may stay.
        """
        parameters = {
            "idx": self.position.idx,
            "attempts": self.position.row.attempts,
            "output": output,
            "undo_timeout": undo_timeout,
        }
        if following is None:
            parameters["context"] = context()
            row = self._completion("complete", parameters, within, run=self._plainly)
            if row is not None and row["completed_at"] is not None:
                self.completed = row
        else:
            parameters |= {
                "begin_next": begin_next,
                "next_name": following.name,
                "next_timeout": following.timeout,
            }
            run = self._plainly if begin_next else self._line.one
            row = self._completion("advance", parameters, within, run=run)
        if row is not None and "status" not in row:  # the short form of advance: all but its deadline is known
            self._begun(row["deadline_at"])
        elif row is not None:
            self._advanced(row, begin_next=begin_next)
        return self.position

    def _completion(
        self, name: str, parameters: dict[str, Any], within: StepTransaction | None, *, run: _Run
    ) -> dict[str, Any] | None:
        if within is None:
            return self._move(name, parameters, run=run)
        parameters |= {"saga_id": self.saga_id, "fence": self.fence}
        before = _signature(self.position, is_open=True)
        try:
            row = within.record(name, parameters)
        except UNKNOWN as exc:
            # It cannot be sent again: with its connection the step's own writes are gone. The lock waits for a commit
            # that is still on its way, so what is read under it is final.
            if _signature(self._read(run=self._line.locked), is_open=self.is_open) != before:
                return None
            raise TransactionLost(str(exc)) from exc
        if row is None:
            self._read()
            raise Fenced(self.saga_id, self.fence)
        return row

    def _plainly(self, name: str, parameters: dict[str, Any]) -> dict[str, Any] | None:
        """The short form of a move; where something has come in between, the move. Each proves the fence by itself."""
        return self._line.one(f"{name}_plain", parameters) or self._line.one(name, parameters)

    def _begun(self, deadline_at: datetime) -> None:
        row = changed(_BEGUN, deadline_at=deadline_at)
        self.position = changed(
            self.position,
            idx=self.position.idx + 1,
            row=row,
            cancel_requested=False,
            deadline_passed=False,
            on_hold=False,
        )

    def _advanced(self, row: dict[str, Any], *, begin_next: bool) -> None:
        status = RunStatus(row["status"])
        before = self.position
        if status is RunStatus.RUNNING:
            begun = begin_next and not row["on_hold"]
            current = Row(
                status=StepStatus.RUNNING if begun else StepStatus.PENDING,
                attempts=int(begun),
                begun_here=begun,
                deadline_at=row["deadline_at"],
            )
        else:
            self.is_open = status is RunStatus.COMPENSATING
            current = replace(
                before.row,
                status=StepStatus.COMPENSATING if self.is_open else StepStatus.COMPLETED,
                has_completed=True,
                begun_here=False,
            )
        self.position = Position(
            status=status,
            idx=row["idx"],
            row=current,
            max_recoveries=before.max_recoveries,
            cancel_requested=row["cancel_requested"],
            deadline_passed=row["deadline_passed"],
            on_hold=row["on_hold"],
        )

    def begin(self, timeout: timedelta) -> Position:
        """Put a new attempt of the current step on record, unless a cancel, deadline or hold came first."""
        return self._cold("begin", {"attempts": self.position.row.attempts, "timeout": timeout})

    def retry(self, retry: Retry, *, park: bool, undo_timeout: timedelta) -> Position:
        """Record a failed attempt of the step or undo that will be tried again; with `park`, let go until then."""
        row = self.position.row
        delay = timedelta(seconds=retry.delay)
        return self._cold(
            "retry",
            {
                "status": self.position.status,
                "attempts": row.attempts,
                "compensation_attempts": row.compensation_attempts,
                "park_for": delay if park else None,
                "undo_timeout": undo_timeout + delay,
                "doubted": retry.doubted,
                "counts": retry.counts,
                "error": _json(retry.error),
            },
        )

    def fail(self, fail: Fail, *, undo_timeout: timedelta) -> Position:
        """Stop going forward: mark the first undo, or end the saga when there is nothing to undo."""
        return self._cold(
            "fail",
            {
                "attempts": self.position.row.attempts,
                "undo_self": fail.undo_self,
                "doubted": fail.doubted,
                "reason": fail.reason,
                "error_class": fail.error_class,
                "error": _json(fail.error),
                "undo_timeout": undo_timeout,
            },
        )

    def compensated(self, record: RecordUndo, *, attempted: bool, undo_timeout: timedelta) -> Position:
        """Record how the undo of the current row ended for good and mark the next one, or end the saga."""
        return self._cold(
            "compensated",
            {
                "result": record.result,
                "error": _json(record.error),
                "attempted": attempted,
                "undo_timeout": undo_timeout,
            },
        )

    def absent(self) -> Position:
        """End the doubt of a running row that was inherited: its probe proved that nothing happened."""
        return self._cold("absent", {"attempts": self.position.row.attempts})

    def park(self, waiting_for: WaitingFor, seconds: float | None, error: Mapping[str, Json] | None = None) -> Position:
        """Let go until the time has come, or until a person acts when there is no time."""
        park_for = None if seconds is None else timedelta(seconds=seconds)
        return self._cold(
            "park",
            {
                "status": self.position.status,
                "waiting_for": waiting_for,
                "park_for": park_for,
                "error": _json(error),
            },
        )

    def yield_(self) -> Position:
        """Let go politely; an attempt begun and not entered is taken back."""
        return self._cold("yield", {"begun": self.position.row.begun_here, "ring_after": self._periods.ring_after})

    def _cold(self, name: str, parameters: dict[str, Any]) -> Position:
        row = self._move(name, {"idx": self.position.idx, **parameters}, run=self._line.locked)
        if row is not None:
            try:
                self._read()
            except Fenced:  # it landed and let the saga go, and somebody else has gone on from there already
                self.is_open = False
                self.position = replace(self.position, status=RunStatus(row.get("status", self.position.status)))
        return self.position

    def _move(
        self,
        name: str,
        parameters: dict[str, Any],
        *,
        run: _Run,
    ) -> dict[str, Any] | None:
        """The row of the move; None when `position` was read anew: it landed unseen, or begin met a cancel."""
        parameters |= {"saga_id": self.saga_id, "fence": self.fence}
        before = self.position
        refused = 0
        while True:
            is_unknown = False
            try:
                row = run(name, parameters)
            except psycopg.Error as exc:
                if _is_refusal(exc):
                    raise Unrecordable(exc) from exc
                row = None
                is_unknown = True
                self._line.lost(exc)
            if row is not None:
                return row
            known = self._read()
            if _signature(known, is_open=self.is_open) != _signature(before, is_open=True):
                return None
            if not is_unknown:
                if name == "begin" and (known.cancel_requested or known.deadline_passed or known.on_hold):
                    return None
                refused += 1
                # A hold that refused it may have been released before the position was read.
                if name != "begin" or refused >= BEGIN_TRIES:
                    raise Fenced(self.saga_id, self.fence)
            self._pause(0.05)

    def _pause(self, seconds: float) -> None:
        """Wait before trying again, unless the lease is over: then somebody else may hold the saga."""
        if self.lease.is_lost:
            raise Fenced(self.saga_id, self.fence)
        time.sleep(min(seconds, max(self.lease.remaining, 0)))

    def _read(self, run: _Run | None = None) -> Position:
        """Read the position again."""
        parameters = {"saga_id": self.saga_id, "fence": self.fence, "owner": self.owner}
        row = self._asked(lambda: (run or self._line.one)("position", parameters))
        if row is None or row["fence"] != self.fence:
            raise Fenced(self.saga_id, self.fence)
        self.is_open = row["is_open"]
        self.position = position_of(row, self.fence)
        return self.position


def _json(value: Mapping[str, Json] | None) -> str | None:
    return None if value is None else json.dumps(value)
