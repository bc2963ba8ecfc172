"""The moves of operators. Each locks the saga row first, is refused on a stale view, and journals who and why."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from psycopg.rows import DictRow

from sagaworker.domain.status import RunStatus
from sagaworker.domain.values import Json
from sagaworker.errors import StaleView
from sagaworker.ledger.database import Database
from sagaworker.ledger.requested import requested
from sagaworker.ledger.session import Connection
from sagaworker.ledger.statements import execute_one


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Who asks for a move, why, and the number of the last journal row that this person saw, if given.

    `request`: the id of a request that others than this call may send again. It is done once.
    """

    saga_id: str
    who: str
    reason: str
    seq: int | None = None
    request: str | None = None


class Operating:
    """Every method returns the status after the move, or None where the move does not apply: nothing changed.

    Raises:
        StaleView: the journal has gone on since `order.seq`. Nothing changed.
    """

    def __init__(self, database: Database, ring_after: timedelta) -> None:
        self._database = database
        self._ring_after = ring_after

    def hold(self, order: Order) -> RunStatus | None:
        """Let nothing new begin."""
        return self._move("hold", order)

    def release(self, order: Order) -> RunStatus | None:
        """End a hold."""
        return self._move("release", order)

    def retry_undo(self, order: Order) -> RunStatus | None:
        """Try again the undo at which the saga halted."""
        return self._move("retry_undo", order)

    def retry_step(self, order: Order, *, idx: int, begin_again: bool) -> RunStatus | None:
        """Let the doubted step at `idx` go on: it is begun again, or its own declaration decides."""
        return self._move("retry_step", order, idx=idx, begin_again=begin_again)

    def retry_passed_over(self, order: Order) -> RunStatus | None:
        """Ring a saga that no worker could run, as if it had just been started."""
        return self._move("retry_passed_over", order)

    def reopen(self, order: Order, *, idx: int, undo: bool, begin_again: bool) -> RunStatus | None:
        """Take up again a saga that failed at `idx`: its failed undos, else its step, else (with `undo`) the undo of its steps."""
        return self._move("reopen", order, idx=idx, undo=undo, begin_again=begin_again)

    def skip_undo(self, order: Order) -> RunStatus | None:
        """Give up the undo at which the saga halted, and go on."""
        return self._move("skip_undo", order)

    def skip_step(self, order: Order) -> RunStatus | None:
        """Give the doubted step up without undoing it, and undo the steps before it."""
        return self._move("skip_step", order)

    def resolve_happened(
        self, order: Order, *, idx: int, output: Mapping[str, Json], next_name: str | None
    ) -> RunStatus | None:
        """Note that the doubted step at `idx` happened, with this output; `next_name` is None for the last step."""
        return self._move("resolve_happened", order, idx=idx, output=json.dumps(output), next_name=next_name)

    def resolve_absent(self, order: Order) -> RunStatus | None:
        """Note that the doubted step did not happen."""
        return self._move("resolve_absent", order)

    def has_landed(self, order: Order) -> bool:
        """Whether the order's request is on record. The lock waits for a send that is still on its way."""
        if order.request is None:
            return False
        parameters = {"saga_id": order.saga_id, "request": order.request}

        def ask(connection: Connection) -> bool:
            with connection.transaction():
                execute_one(connection, "lock_run", parameters)
                return execute_one(connection, "operated", parameters) is not None

        return self._database.again(ask)

    def now(self) -> datetime:
        """The database's clock, for texts that tell people when the saga is due."""
        row = self._database.again(lambda connection: execute_one(connection, "clock", {}))
        assert row is not None
        at: datetime = row["at"]
        return at

    def _move(self, name: str, order: Order, **parameters: Any) -> RunStatus | None:
        """Run the move once, even if an answer is lost: the journal has the id of a request that landed before."""
        parameters |= {
            "saga_id": order.saga_id,
            "who": order.who,
            "reason": order.reason,
            "request": order.request or str(uuid.uuid4()),
            "ring_after": self._ring_after,
        }
        answer = requested(
            self._database, name, parameters, was_sent=order.request is not None, check=partial(_refuse_stale, order)
        )
        return None if answer is None else RunStatus(answer.row["status"])


def _refuse_stale(order: Order, locked: DictRow | None) -> None:
    if locked is not None and order.seq is not None and locked["seq"] != order.seq:
        raise StaleView(order.saga_id, order.seq, locked["seq"])
