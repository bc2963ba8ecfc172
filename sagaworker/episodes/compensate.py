"""The undo of a step: call its `compensate`, and record that it is undone or what its failure comes to."""

from __future__ import annotations

import random
from dataclasses import replace

from sagaworker.domain import walk
from sagaworker.domain.status import RunStatus, StepStatus
from sagaworker.episodes.attempt import plain, undone
from sagaworker.episodes.holder import Holder
from sagaworker.ledger.claim import Unrecordable

POINTS = ("compensate.before", "compensate.after")


def compensate(holder: Holder) -> None:
    """Undo the step at the cursor; one without a `compensate` has nothing to undo."""
    step, row = holder.step, holder.hold.position.row
    if step.compensate is None:
        holder.record_undo(walk.RecordUndo(result=StepStatus.COMPENSATED), attempted=False)
        return
    if not holder.arm():
        return
    state = holder.state(outcome="completed" if row.has_completed else "unknown")
    holder.announce(RunStatus.COMPENSATING)
    failed = undone(holder.call(step.compensate, state, POINTS), step.policy.undo_retry)
    try:
        _record(holder, row, failed)
    except Unrecordable as refused:
        _record(holder, row, None if failed is None else replace(failed, error=plain(refused.cause)))


def _record(holder: Holder, row: walk.Row, failed: walk.Failed | None) -> None:
    decided = walk.after_undo(row, failed, holder.step.policy, draw=random.random())  # noqa: S311 - jitter
    if isinstance(decided, walk.Retry):
        holder.retry(decided)
    else:
        holder.record_undo(decided, attempted=True)
