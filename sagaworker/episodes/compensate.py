"""The undo of a step: call its `compensate`, and record that it is undone or what its failure comes to."""

from __future__ import annotations

import random
from dataclasses import replace

from sagaworker.domain import walk
from sagaworker.domain.status import RunStatus, StepStatus
from sagaworker.episodes.attempt import plain, undone
from sagaworker.episodes.episode import Episode
from sagaworker.ledger.claim import Unrecordable

POINTS = ("compensate.before", "compensate.after")


def compensate(episode: Episode) -> None:
    """Undo the step at the cursor; one without a `compensate` has nothing to undo."""
    step, row = episode.step, episode.claim.position.row
    if step.compensate is None:
        episode.record_undo(walk.RecordUndo(result=StepStatus.COMPENSATED), attempted=False)
        return
    if not episode.arm():
        return
    state = episode.state(outcome="completed" if row.has_completed else "unknown")
    episode.announce(RunStatus.COMPENSATING)
    failed = undone(episode.call(step.compensate, state, POINTS), step.policy.undo_retry)
    try:
        _record(episode, row, failed)
    except Unrecordable as refused:
        _record(episode, row, None if failed is None else replace(failed, error=plain(refused.cause)))


def _record(episode: Episode, row: walk.Row, failed: walk.Failed | None) -> None:
    decided = walk.after_undo(row, failed, episode.step.policy, draw=random.random())  # noqa: S311 - jitter
    if isinstance(decided, walk.Retry):
        episode.retry(decided)
    else:
        episode.record_undo(decided, attempted=True)
