"""An attempt to execute a step: enter it, and record that it completed or what its failure comes to."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Protocol

from sagaworker.domain import walk
from sagaworker.domain.state import SagaState
from sagaworker.domain.status import RunStatus
from sagaworker.episodes.attempt import executed, plain, refusal
from sagaworker.episodes.holder import Holder
from sagaworker.ledger.claim import Unrecordable

POINTS = ("execute.before", "execute.after")


def execute(holder: Holder) -> None:
    """Enter the attempt that is on record."""
    step = holder.step
    state = holder.state()
    holder.announce(RunStatus.RUNNING)
    result = executed(holder.call(step.execute, state, POINTS), state, step.policy.retry)
    failed = recorded(holder, result) if isinstance(result, SagaState) else result
    if failed is not None:
        record_failure(holder, failed, walk.after_execute)


def recorded(holder: Holder, result: SagaState) -> walk.Failed | None:
    """Record that the step completed; a record that the server refuses is a failed attempt, in doubt like others."""
    try:
        holder.advance(result)
    except Unrecordable as refused:
        holder.refold()  # what was added for an advance that did not happen is taken out again
        return refusal(refused.cause, holder.step.policy.retry, definite=False)
    return None


class Decide(Protocol):
    """What a failed attempt comes to: `walk.after_execute` or `walk.after_lost`."""

    def __call__(
        self, row: walk.Row, outcome: walk.Failed, policy: walk.StepPolicy, *, draw: float
    ) -> walk.Retry | walk.Fail: ...


def record_failure(holder: Holder, failed: walk.Failed, decide: Decide) -> None:
    """Retry what may be tried again, else turn to undoing. Where the server refuses the error itself, with a plain one."""
    try:
        _record_failure(holder, failed, decide)
    except Unrecordable as refused:
        _record_failure(holder, replace(failed, error=plain(refused.cause)), decide)


def _record_failure(holder: Holder, failed: walk.Failed, decide: Decide) -> None:
    decided = decide(holder.hold.position.row, failed, holder.step.policy, draw=random.random())  # noqa: S311 - jitter
    if isinstance(decided, walk.Retry):
        holder.retry(decided)
    else:
        holder.fail(decided)
