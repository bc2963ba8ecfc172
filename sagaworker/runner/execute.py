"""An attempt to execute a step: enter it, and record that it completed or what its failure comes to."""

from __future__ import annotations

import random

from sagaworker.domain import walk
from sagaworker.domain.state import SagaState
from sagaworker.domain.status import RunStatus
from sagaworker.runner.attempt import executed
from sagaworker.runner.holder import Holder

POINTS = ("execute.before", "execute.after")


def execute(holder: Holder) -> None:
    """Enter the attempt that is on record."""
    step = holder.step
    state = holder.state()
    holder.announce(RunStatus.RUNNING)
    result = executed(holder.call(step.execute, state, POINTS), state, step.policy.retry)
    if isinstance(result, SagaState):
        holder.advance(result)
    else:
        record_failure(holder, result, step.policy)


def record_failure(holder: Holder, failed: walk.Failed, policy: walk.StepPolicy) -> None:
    """Retry what may be tried again, else turn to undoing."""
    decided = walk.after_execute(holder.hold.position.row, failed, policy, draw=random.random())  # noqa: S311 - jitter
    if isinstance(decided, walk.Retry):
        holder.retry(decided)
    else:
        holder.fail(decided)
