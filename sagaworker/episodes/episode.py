"""One episode: walk a claimed saga and let it go. Decisions come from domain.walk; this carries them out."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import assert_never

from sagaworker.domain import walk
from sagaworker.domain.records import Doorbell, SagaRun
from sagaworker.domain.status import RunStatus, WaitingFor
from sagaworker.episodes.compensate import compensate
from sagaworker.episodes.execute import execute
from sagaworker.episodes.holder import Holder
from sagaworker.episodes.plan import Plan
from sagaworker.episodes.probe import probe
from sagaworker.episodes.transactional import execute_in_transaction
from sagaworker.errors import Fenced
from sagaworker.ledger.moves import Ledger

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeEnd:
    """How one delivery of a doorbell ended: the run's status, and what became of the hold.

    `outcome` is an episode's outcome (completed, rolled_back, failed, parked, yielded), or one of
    `busy` (held elsewhere, waiting or over: nothing was claimed), `stopping` (this worker begins nothing more: nothing was
    claimed, and another one is rung), `fenced` (taken over in the middle: nothing more was
    written), `interrupted` (Ctrl-C inside a step), `unrunnable` (a step is missing here; `reason` says which).
    """

    saga_id: str
    status: RunStatus
    outcome: str
    reason: str = ""
    doorbell: Doorbell | None = None
    run: SagaRun | None = None  # as the ledger has it, where the walk completed the saga and so knows all of it


class Episode:
    """The walk of one claimed saga."""

    def __init__(self, holder: Holder, plan: Plan, ledger: Ledger) -> None:
        self._holder = holder
        self._hold = holder.hold
        self._plan = plan
        self._ledger = ledger

    def run(self) -> EpisodeEnd:
        """Decide, act and record, until the saga ends, waits, or must be let go."""
        hold = self._hold
        try:
            if hold.position.idx > 0 or hold.position.status is RunStatus.COMPENSATING:
                self._holder.refold()
            while hold.is_open:
                self._carry_out(self._next_move())
        except Fenced:
            log.warning("saga %s was taken over; this worker stops and writes nothing", hold.saga_id)
            return self._end("fenced")
        except KeyboardInterrupt:
            # Inside a step: its attempt is in doubt, so it is given up as if this process had died, and counted.
            self._ledger.take_over_own(hold)
            return self._end("interrupted")
        return self._end(self._outcome(), self._completed() if hold.completed is not None else None)

    def _next_move(self) -> walk.NextMove:
        holder, hold = self._holder, self._hold
        position, policy = hold.position, holder.step.policy
        if policy.transactional and position.status is RunStatus.COMPENSATING and position.row.in_doubt > 0:
            position = replace(position, row=replace(position.row, doubted_itself=hold.doubted_itself()))
        return walk.next_move(position, policy, stopping=holder.is_stopping)

    def _carry_out(self, move: walk.NextMove) -> None:  # noqa: C901, PLR0912 - one case for each move
        hold, holder = self._hold, self._holder
        match move:
            case walk.Execute():
                if holder.step.policy.transactional:
                    execute_in_transaction(holder, self._ledger)
                else:
                    execute(holder)
            case walk.Begin():
                holder.begin()
            case walk.Compensate():
                compensate(holder)
            case walk.Fail():
                holder.fail(move)
            case walk.RecordUndo():
                holder.record_undo(move, attempted=False)
            case walk.Quarantine():
                hold.park(WaitingFor.QUARANTINE, move.seconds)
            case walk.AskOperator():
                hold.park(WaitingFor.OPERATOR, None, move.error)
            case walk.Probe():
                probe(holder)
            case walk.LetGo():
                holder.let_go()
            case walk.Finished():
                raise AssertionError("a finished saga has no open episode")
            case _:
                assert_never(move)

    def _outcome(self) -> str:
        position = self._hold.position
        if position.status.is_terminal:
            return str(position.status)
        return "yielded" if self._holder.has_yielded else "parked"

    def _end(self, outcome: str, run: SagaRun | None = None) -> EpisodeEnd:
        status, idx = self._hold.position.status, self._hold.position.idx
        doorbell = None if status.is_terminal else self._plan.doorbell(idx)
        return EpisodeEnd(saga_id=self._hold.saga_id, status=status, outcome=outcome, doorbell=doorbell, run=run)

    def _completed(self) -> SagaRun:
        """The completed run without reading it again: everything else on it is frozen since it was claimed."""
        hold = self._hold
        assert hold.completed is not None
        return replace(
            self._plan.run,
            status=hold.position.status,
            current_step_idx=hold.position.idx,
            fence=hold.fence,
            waiting_for=None,
            wake_at=None,
            context=hold.completed["context"],
            started_at=hold.completed["started_at"],
            completed_at=hold.completed["completed_at"],
        )
