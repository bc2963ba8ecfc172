"""The undo of a step: call its `compensate`, and record that it is undone or what its failure comes to."""

from __future__ import annotations

import random

from sagaworker.domain import walk
from sagaworker.domain.status import RunStatus, StepStatus
from sagaworker.runner.attempt import undone
from sagaworker.runner.holder import Holder

POINTS = ("compensate.before", "compensate.after")


def compensate(holder: Holder) -> None:
    """Undo the step at the cursor; one without a `compensate` has nothing to undo."""
    step, row = holder.step, holder.hold.position.row
    if step.compensate is None:
        holder.record_undo(walk.RecordUndo(result=StepStatus.COMPENSATED), attempted=False)
        return
    holder.arm()
    state = holder.state(outcome="completed" if row.has_completed else "unknown")
    holder.announce(RunStatus.COMPENSATING)
    failed = undone(holder.call(step.compensate, state, POINTS), step.policy.undo_retry)
    decided = walk.after_undo(row, failed, step.policy, draw=random.random())  # noqa: S311 - jitter
    if isinstance(decided, walk.Retry):
        holder.retry(decided)
    else:
        holder.record_undo(decided, attempted=True)
