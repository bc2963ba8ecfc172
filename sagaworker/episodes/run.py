"""The loop of an episode: decide, act and record, until the saga ends, waits, or must be let go.

Decisions come from `domain/walk.py`; this carries them out.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import assert_never

from sagaworker.domain import walk
from sagaworker.domain.status import RunStatus, WaitingFor
from sagaworker.episodes.compensate import compensate
from sagaworker.episodes.episode import Episode, EpisodeEnd
from sagaworker.episodes.execute import execute
from sagaworker.episodes.probe import probe
from sagaworker.episodes.transactional import execute_in_transaction
from sagaworker.errors import Fenced
from sagaworker.ledger.ledger import Ledger

log = logging.getLogger(__name__)


def run(episode: Episode, ledger: Ledger) -> EpisodeEnd:
    """Walk the claimed saga and let it go. Never raises for a step."""
    claim = episode.claim
    try:
        if claim.position.idx > 0 or claim.position.status is RunStatus.COMPENSATING:
            episode.refold()
        while claim.is_open:
            _carry_out(_next_move(episode), episode, ledger)
    except Fenced:
        log.warning("saga %s was taken over; this worker stops and writes nothing", claim.saga_id)
        return episode.end("fenced")
    except KeyboardInterrupt:
        # Inside a step: its attempt is in doubt, so it is given up as if this process had died, and counted.
        ledger.take_over_own(claim)
        return episode.end("interrupted")
    return episode.end(episode.outcome, episode.completed())


def _next_move(episode: Episode) -> walk.NextMove:
    claim, policy = episode.claim, episode.step.policy
    position = claim.position
    if policy.transactional and position.status is RunStatus.COMPENSATING and position.row.in_doubt > 0:
        position = replace(position, row=replace(position.row, doubted_itself=claim.doubted_itself()))
    return walk.next_move(position, policy, stopping=episode.is_stopping)


def _carry_out(move: walk.NextMove, episode: Episode, ledger: Ledger) -> None:  # noqa: C901, PLR0912 - one case for each move
    match move:
        case walk.Execute():
            if episode.step.policy.transactional:
                execute_in_transaction(episode, ledger)
            else:
                execute(episode)
        case walk.Begin():
            episode.begin()
        case walk.Compensate():
            compensate(episode)
        case walk.Fail():
            episode.fail(move)
        case walk.RecordUndo():
            episode.record_undo(move, attempted=False)
        case walk.Quarantine():
            episode.claim.park(WaitingFor.QUARANTINE, move.seconds)
        case walk.AskOperator():
            episode.claim.park(WaitingFor.OPERATOR, None, move.error)
        case walk.Probe():
            probe(episode)
        case walk.LetGo():
            episode.let_go()
        case walk.Finished():
            raise AssertionError("a finished saga has no open episode")
        case _:
            assert_never(move)
