"""One saga of every kind, brought about by the real moves, without steps or a runner."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from sagaworker.domain.fold import Fold
from sagaworker.domain.recovery import Scope
from sagaworker.domain.status import ErrorClass, RunStatus, StepStatus, WaitingFor
from sagaworker.domain.values import canonical_hash
from sagaworker.domain.walk import Fail, RecordUndo, Retry
from sagaworker.ledger.claim import Claim, Following, Periods
from sagaworker.ledger.database import Database
from sagaworker.ledger.episodes import Claimer
from sagaworker.ledger.ledger import Ledger
from sagaworker.ledger.line import Line
from sagaworker.ledger.recovery import Sweeping
from sagaworker.ledger.starts import NewRun

# Longer than any test: what is held stays held, and what waits stays waiting.
HOUR = timedelta(hours=1)
SCOPE = Scope()
PERIODS = Periods(lease=HOUR, grace=HOUR, ring_after=HOUR)
CHAIN = ("steps.a", "steps.b", "steps.c")
GRAPH = (
    {"step": "steps.a", "id": "a"},
    {"step": "steps.b", "id": "b", "depends_on": ["a"]},
    {"step": "steps.c", "id": "c", "depends_on": ["a", "b"]},
)
ERROR = {"kind": "Test", "message": "on purpose"}
DECLINED = Fail(reason="step_failed", error_class=ErrorClass.STEP_FAILED, undo_self=False, error=ERROR)
BROKEN = Fail(reason="step_failed", error_class=ErrorClass.STEP_IN_DOUBT, undo_self=True, doubted=True, error=ERROR)
UNDONE = RecordUndo(result=StepStatus.COMPENSATED)
NOT_UNDONE = RecordUndo(result=StepStatus.COMPENSATION_FAILED, error=ERROR)
SKIPPED = RecordUndo(result=StepStatus.SKIPPED)


class Sagas:
    """Drives sagas through the ledger's moves; closes what it holds at the end."""

    def __init__(self, database: Database, periods: Periods = PERIODS) -> None:
        self.ledger = Ledger(database, periods)
        self.sweeping = Sweeping(database, ring_after=periods.ring_after)
        self.claimer = Claimer(owner=str(uuid.uuid4()))
        self._holds = contextlib.ExitStack()

    def close(self) -> None:
        self._holds.close()

    def start(self, steps: Any = CHAIN, inputs: Any = None, **options: Any) -> str:
        saga_id = str(uuid.uuid4())
        inputs = {"amount": 1.5, "name": "ä\n", "list": [None, True, 10**30]} if inputs is None else inputs
        run = NewRun(
            id=saga_id, kind="varied", step_modules=steps, inputs=inputs, inputs_hash=canonical_hash(inputs), **options
        )
        assert self.ledger.start([run]) == {saga_id}
        return saga_id

    def claim(self, saga_id: str) -> Claim:
        line = Line(self.ledger.database)
        loaded = self.ledger.load(saga_id, line)
        assert loaded is not None
        seen = loaded.run
        hold = self.ledger.claim(
            seen, self.claimer, line, step_name=str(seen.current_step_idx), timeout=HOUR, undo_timeout=HOUR
        )
        assert hold is not None
        self._holds.callback(hold.close)
        return hold

    def begun(self, steps: Any = CHAIN, **options: Any) -> tuple[str, Claim]:
        saga_id = self.start(steps, **options)
        return saga_id, self.claim(saga_id)

    def orphan(self, saga_id: str, policy: str, *, witnessed: bool = False) -> None:
        """Take the saga over as if its worker were gone."""
        ago = -PERIODS.lease
        orphans = [one for one in self.sweeping.expired(SCOPE, stale_after=ago, limit=1000) if one.saga_id == saga_id]
        taken = self.ledger.take_over([(one, policy) for one in orphans], witnessed=witnessed, stale_after=ago)
        assert len(taken) == 1


def advance(hold: Claim, *, begin_next: bool = True, **output: Any) -> Claim:
    """Complete the current step of three."""
    idx = hold.position.idx
    following = None if idx == len(CHAIN) - 1 else Following(name=str(idx + 1), timeout=HOUR)
    output = output or {"last": idx, f"step {idx}": [idx, 0.1]}
    begin_next = begin_next and following is not None
    context = Fold()
    for idx, earlier in [*hold.outputs(), (hold.position.idx, output)]:
        context.add(idx, earlier)
    hold.advance(
        json.dumps(output), following=following, begin_next=begin_next, undo_timeout=HOUR, context=context.text
    )
    return hold


def undo_all(hold: Claim, record: RecordUndo = UNDONE) -> Claim:
    while hold.is_open:
        hold.compensated(record, attempted=True, undo_timeout=HOUR)
    return hold


def retry(*, delay: float = 0.0, doubted: bool = False) -> Retry:
    return Retry(delay=delay, error=ERROR, doubted=doubted)


def _completed(sagas: Sagas) -> str:
    saga_id, hold = sagas.begun(key="order-1")
    advance(advance(advance(hold)))
    return saga_id


def _completed_after_two_retries_and_a_note(sagas: Sagas) -> str:
    saga_id, hold = sagas.begun()
    sagas.ledger.checkpoint(saga_id, 0, hold.fence, {"page": 3})
    for is_doubted in (False, True):
        hold.retry(retry(doubted=is_doubted), park=False, undo_timeout=HOUR)
        hold.begin(HOUR)
    advance(advance(advance(hold)))
    return saga_id


def _completed_after_its_worker_died(sagas: Sagas) -> str:
    saga_id, hold = sagas.begun()
    advance(hold)
    sagas.orphan(saga_id, "restart", witnessed=True)
    again = sagas.claim(saga_id)
    again.begin(HOUR)
    advance(advance(again))
    return saga_id


def _completed_graph(sagas: Sagas) -> str:
    saga_id, hold = sagas.begun(GRAPH)
    advance(advance(advance(hold)))
    return saga_id


def _pending(sagas: Sagas) -> str:
    return sagas.start(key="order-2")


def _rung_again(sagas: Sagas) -> str:
    saga_id = sagas.start()
    with sagas.ledger.database.checkout() as connection:
        connection.execute("UPDATE saga_runs SET wake_at = now() WHERE id = %s", [saga_id])
    assert [bell.saga_id for bell in sagas.sweeping.ring_due(SCOPE, limit=10)] == [saga_id]
    return saga_id


def _cancelled_before_it_began(sagas: Sagas) -> str:
    saga_id = sagas.start()
    assert sagas.ledger.cancel(saga_id, "changed my mind") == (RunStatus.ROLLED_BACK, False)
    return saga_id


def _running(sagas: Sagas) -> str:
    saga_id, hold = sagas.begun()
    advance(hold)
    return saga_id


def _yielded(sagas: Sagas) -> str:
    saga_id, hold = sagas.begun()
    advance(hold)
    hold.yield_()
    return saga_id


def _waiting_for_a_retry(sagas: Sagas) -> str:
    saga_id, hold = sagas.begun()
    advance(hold).retry(retry(delay=3600, doubted=True), park=True, undo_timeout=HOUR)
    return saga_id


def _woken(sagas: Sagas) -> str:
    saga_id, hold = sagas.begun()
    advance(hold).retry(retry(), park=True, undo_timeout=HOUR)
    assert [bell.saga_id for bell in sagas.sweeping.wake(SCOPE, limit=10)] == [saga_id]
    return saga_id


def _asked_to_cancel(sagas: Sagas) -> str:
    saga_id, hold = sagas.begun()
    advance(hold)
    assert sagas.ledger.cancel(saga_id, None) == (RunStatus.RUNNING, True)
    return saga_id


def _cancelled_in_its_last_step(sagas: Sagas) -> str:
    saga_id, hold = sagas.begun()
    advance(advance(hold))
    sagas.ledger.cancel(saga_id, "too late for the step, not for the saga")
    undo_all(advance(hold))
    return saga_id


def _cancelled_while_it_waited(sagas: Sagas) -> str:
    saga_id, hold = sagas.begun()
    advance(hold).retry(retry(delay=3600), park=True, undo_timeout=HOUR)
    assert sagas.ledger.cancel(saga_id, None) == (RunStatus.COMPENSATING, False)
    undo_all(sagas.claim(saga_id))
    return saga_id


def cancelled_while_nobody_held_it(sagas: Sagas) -> str:
    saga_id = _yielded(sagas)
    assert sagas.ledger.cancel(saga_id, None) == (RunStatus.COMPENSATING, False)
    undo_all(sagas.claim(saga_id))
    return saga_id


def _timed_out(sagas: Sagas) -> str:
    saga_id, hold = sagas.begun(deadline_at=(datetime.now(UTC) - HOUR).isoformat())
    assert hold.position.row.status is StepStatus.PENDING
    timed_out = Fail(reason="timed_out", error_class=ErrorClass.TIMED_OUT, undo_self=False)
    hold.fail(timed_out, undo_timeout=HOUR)
    return saga_id


def _failed_first_step(sagas: Sagas) -> str:
    saga_id, hold = sagas.begun()
    hold.fail(DECLINED, undo_timeout=HOUR)
    return saga_id


def _rolled_back(sagas: Sagas) -> str:
    saga_id, hold = sagas.begun()
    advance(advance(hold)).fail(DECLINED, undo_timeout=HOUR)
    hold.retry(retry(doubted=True), park=False, undo_timeout=HOUR)
    undo_all(hold)
    return saga_id


def _rolled_back_from_a_doubt(sagas: Sagas) -> str:
    saga_id, hold = sagas.begun()
    advance(advance(hold)).fail(BROKEN, undo_timeout=HOUR)
    undo_all(hold)
    return saga_id


def _rolled_back_with_a_skip(sagas: Sagas) -> str:
    saga_id, hold = sagas.begun()
    advance(hold).fail(BROKEN, undo_timeout=HOUR)
    hold.compensated(SKIPPED, attempted=False, undo_timeout=HOUR)
    undo_all(hold)
    return saga_id


def _compensating(sagas: Sagas) -> str:
    saga_id, hold = sagas.begun()
    advance(advance(hold)).fail(DECLINED, undo_timeout=HOUR)
    return saga_id


def _compensating_past_a_failed_undo(sagas: Sagas) -> str:
    saga_id, hold = sagas.begun()
    advance(advance(hold)).fail(DECLINED, undo_timeout=HOUR)
    hold.compensated(NOT_UNDONE, attempted=True, undo_timeout=HOUR)
    return saga_id


def _failed(sagas: Sagas) -> str:
    saga_id, hold = sagas.begun()
    advance(advance(hold)).fail(BROKEN, undo_timeout=HOUR)
    hold.compensated(NOT_UNDONE, attempted=True, undo_timeout=HOUR)
    undo_all(hold)
    return saga_id


def _halted(sagas: Sagas) -> str:
    saga_id, hold = sagas.begun(on_compensation_failure="halt")
    advance(hold).fail(DECLINED, undo_timeout=HOUR)
    hold.compensated(NOT_UNDONE, attempted=True, undo_timeout=HOUR)
    return saga_id


def _asking_an_operator(sagas: Sagas) -> str:
    saga_id, _hold = sagas.begun()
    sagas.orphan(saga_id, "restart")
    sagas.claim(saga_id).park(WaitingFor.OPERATOR, None)
    return saga_id


def _in_quarantine(sagas: Sagas) -> str:
    saga_id, hold = sagas.begun()
    advance(hold)
    sagas.orphan(saga_id, "restart")
    again = sagas.claim(saga_id)
    again.fail(Fail(reason="doubt", error_class=ErrorClass.STEP_IN_DOUBT, undo_self=True), undo_timeout=HOUR)
    assert again.position.row.quarantine > 60
    again.park(WaitingFor.QUARANTINE, again.position.row.quarantine)
    return saga_id


def _orphaned_while_compensating(sagas: Sagas) -> str:
    saga_id = _compensating(sagas)
    sagas.orphan(saga_id, "fail")
    return saga_id


def _failed_by_policy(sagas: Sagas) -> str:
    saga_id, hold = sagas.begun()
    advance(hold).retry(retry(doubted=True), park=False, undo_timeout=HOUR)
    sagas.orphan(saga_id, "fail")
    return saga_id


def _failed_by_policy_in_a_step(sagas: Sagas) -> str:
    saga_id, hold = sagas.begun()
    advance(hold)
    sagas.orphan(saga_id, "fail")
    return saga_id


def _compensated_by_policy(sagas: Sagas) -> str:
    saga_id, hold = sagas.begun()
    advance(advance(hold)).retry(retry(), park=False, undo_timeout=HOUR)
    sagas.orphan(saga_id, "compensate", witnessed=True)
    undo_all(sagas.claim(saga_id))
    return saga_id


def _rolled_back_by_policy(sagas: Sagas) -> str:
    saga_id, hold = sagas.begun()
    hold.retry(retry(), park=False, undo_timeout=HOUR)
    sagas.orphan(saga_id, "compensate")
    return saga_id


def _held_by_policy(sagas: Sagas) -> str:
    saga_id, _hold = sagas.begun()
    sagas.orphan(saga_id, "hold")
    return saga_id


def _yielded_with_an_old_doubt(sagas: Sagas) -> str:
    saga_id, _hold = sagas.begun()
    sagas.orphan(saga_id, "restart")
    sagas.claim(saga_id).yield_()
    return saga_id


KINDS: dict[str, Callable[[Sagas], str]] = {
    make.__name__.strip("_"): make
    for make in (
        _completed,
        _completed_after_two_retries_and_a_note,
        _completed_after_its_worker_died,
        _completed_graph,
        _rung_again,
        _pending,
        _cancelled_before_it_began,
        _running,
        _yielded,
        _waiting_for_a_retry,
        _woken,
        _asked_to_cancel,
        _cancelled_in_its_last_step,
        _cancelled_while_it_waited,
        cancelled_while_nobody_held_it,
        _timed_out,
        _failed_first_step,
        _rolled_back,
        _rolled_back_from_a_doubt,
        _rolled_back_with_a_skip,
        _compensating,
        _compensating_past_a_failed_undo,
        _failed,
        _halted,
        _asking_an_operator,
        _in_quarantine,
        _orphaned_while_compensating,
        _failed_by_policy,
        _failed_by_policy_in_a_step,
        _compensated_by_policy,
        _rolled_back_by_policy,
        _held_by_policy,
        _yielded_with_an_old_doubt,
    )
}
