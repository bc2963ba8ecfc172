"""An attempt to execute a step: enter it, and record that it completed or what its failure comes to."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Protocol

from sagaworker.domain import walk
from sagaworker.domain.state import SagaState
from sagaworker.domain.status import RunStatus
from sagaworker.episodes.attempt import executed, plain, refusal
from sagaworker.episodes.episode import Episode
from sagaworker.ledger.claim import Unrecordable

POINTS = ("execute.before", "execute.after")


def execute(episode: Episode) -> None:
    """Enter the attempt that is on record."""
    step = episode.step
    state = episode.state()
    episode.announce(RunStatus.RUNNING)
    result = executed(episode.call(step.execute, state, POINTS), state, step.policy.retry)
    failed = recorded(episode, result) if isinstance(result, SagaState) else result
    if failed is not None:
        record_failure(episode, failed, walk.after_execute)


def recorded(episode: Episode, result: SagaState) -> walk.Failed | None:
    """Record that the step completed; a record that the server refuses is a failed attempt, in doubt like others."""
    try:
        episode.advance(result)
    except Unrecordable as refused:
        episode.refold()  # what was added for an advance that did not happen is taken out again
        return refusal(refused.cause, episode.step.policy.retry, definite=False)
    return None


class Decide(Protocol):
    """What a failed attempt comes to: `walk.after_execute` or `walk.after_lost`."""

    def __call__(
        self, row: walk.Row, outcome: walk.Failed, policy: walk.StepPolicy, *, draw: float
    ) -> walk.Retry | walk.Fail: ...


def record_failure(episode: Episode, failed: walk.Failed, decide: Decide) -> None:
    """Retry what may be tried again, else turn to undoing. Where the server refuses the error itself, with a plain one."""
    try:
        _record_failure(episode, failed, decide)
    except Unrecordable as refused:
        _record_failure(episode, replace(failed, error=plain(refused.cause)), decide)


def _record_failure(episode: Episode, failed: walk.Failed, decide: Decide) -> None:
    decided = decide(episode.claim.position.row, failed, episode.step.policy, draw=random.random())  # noqa: S311 - jitter
    if isinstance(decided, walk.Retry):
        episode.retry(decided)
    else:
        episode.fail(decided)
