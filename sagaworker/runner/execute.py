"""An attempt to execute a step: enter it, and record that it completed or what its failure comes to."""

from __future__ import annotations

import random
from typing import Protocol

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
        record_failure(holder, result, walk.after_execute)


class Decide(Protocol):
    """What a failed attempt comes to: `walk.after_execute` or `walk.after_lost`."""

    def __call__(
        self, row: walk.Row, outcome: walk.Failed, policy: walk.StepPolicy, *, draw: float
    ) -> walk.Retry | walk.Fail: ...


def record_failure(holder: Holder, failed: walk.Failed, decide: Decide) -> None:
    """Retry what may be tried again, else turn to undoing."""
    decided = decide(holder.hold.position.row, failed, holder.step.policy, draw=random.random())  # noqa: S311 - jitter
    if isinstance(decided, walk.Retry):
        holder.retry(decided)
    else:
        holder.fail(decided)
