"""One episode: a claimed saga in this process, what its steps are given, and what is recorded of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

from sagaworker.catalog.step import Step
from sagaworker.domain import walk
from sagaworker.domain.changed import changed
from sagaworker.domain.fold import Fold
from sagaworker.domain.records import Doorbell, SagaRun
from sagaworker.domain.state import SagaState, ValueLimits, output_delta, output_sizes, output_text
from sagaworker.domain.status import RunStatus
from sagaworker.domain.values import Json, copy
from sagaworker.episodes.place import Deadline, Ended, Place
from sagaworker.episodes.plan import Plan
from sagaworker.errors import StepCancelled, StepTimedOut
from sagaworker.failpoints import Failpoints
from sagaworker.ledger.claim import Claim, Following
from sagaworker.ledger.lease import Lease
from sagaworker.ledger.step_transaction import StepTransaction
from sagaworker.settings import Settings

log = logging.getLogger(__name__)

PARK_FROM = 5.0  # seconds: a shorter wait for a retry is slept in place, a longer one frees the worker


@dataclass(frozen=True, slots=True, kw_only=True)
class Observer:
    """What the surroundings of a walk want and give. `should_stop` is asked between steps; `entered` sees each entry."""

    should_stop: Callable[[], bool] = lambda: False
    entered: Callable[[Doorbell, RunStatus], None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeEnd:
    """How one delivery of a doorbell ended: the run's status, and what became of the claim.

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
    """One saga, from its claim until it is let go: enters user code, bounds it, and records the outcome.

    `claim` makes the moves, `fold` has the outputs on record, `plan` the steps. `run.py` decides which move comes next.
    """

    def __init__(
        self, claim: Claim, plan: Plan, place: Place, observer: Observer, failpoints: Failpoints, settings: Settings
    ) -> None:
        self.claim = claim
        self.fold = Fold()
        self.has_yielded = False
        self.is_unwatched = False
        self.plan = plan
        self._steps = plan.steps
        self._place = place
        self._observer = observer
        self._failpoints = failpoints
        self._grace = settings.step_grace.total_seconds()
        # What is the same in every state of the episode.
        self._state = SagaState(
            saga_id=claim.saga_id,
            step_idx=0,
            step_id="",
            attempt=1,
            idempotency_key="",
            fence=claim.fence,
            mode=plan.run.mode,
            _inputs=plan.run.inputs,
            _limits=ValueLimits(output=settings.max_output_bytes, context=settings.max_context_bytes),
        )

    @property
    def step(self) -> Step:
        """The step at the cursor."""
        return self._steps[self.claim.position.idx]

    @property
    def is_stopping(self) -> bool:
        """Whether nothing new may begin here."""
        return self.is_unwatched or self._observer.should_stop() or self.claim.lease.is_lost

    def refold(self) -> None:
        """Fold what is on record, and nothing else."""
        self.fold = Fold()
        for idx, output in self.claim.outputs():
            self.fold.add(idx, output)

    # -- user code -----------------------------------------------------------------------------------------------------

    def arm(self) -> bool:
        """Start the hard end of an attempt of the step at the cursor; False where it cannot be: then nothing may begin."""
        return self._is_armed(self.step)

    def unwatch(self) -> None:
        """The database is away: the hard end is a step's, and must not strike in what is recorded about one.

        What was begun meanwhile has not been entered, and is taken back; the saga is let go, and goes on elsewhere.
        """
        self.is_unwatched = self._place.disarm() or self.is_unwatched

    def announce(self, status: RunStatus) -> None:
        """Tell the observer that the step at the cursor is entered."""
        if self._observer.entered is None:
            return
        try:
            self._observer.entered(self.plan.doorbell(self.claim.position.idx), status)
        except Exception as exc:  # noqa: BLE001 - an observer must not make a step run again
            log.warning("that a step of saga %s is entered was not told: %s", self.claim.saga_id, exc)

    def call(self, function: Callable[[SagaState], object], state: SagaState, points: tuple[str, str]) -> Ended:
        """Run a member of the step at the cursor, bounded by its TIMEOUT, between its failpoints.

        Whatever it or they raise is in what comes back, but for the host's own Ctrl-C, which is raised.
        """

        def between() -> object:
            self._failpoints.hit(points[0], state.step_idx)
            result = function(state)
            self._failpoints.hit(points[1], state.step_idx)
            return result

        timeout = self.step.timeout.total_seconds()
        with self.claim.lease.at_most(timeout + self._grace):
            ended = self._place.call(between, timeout)
        if isinstance(ended.exception, KeyboardInterrupt) and self._place.has_keyboard:
            raise ended.exception
        return ended

    def state(self, *, outcome: str | None = None, connection: object = None) -> SagaState:
        """What the step at the cursor is given; with an `outcome`, what its undo is."""
        claim, step = self.claim, self.step
        idx, row = claim.position.idx, claim.position.row
        entry = self.plan.entries[idx]
        is_undo = outcome is not None
        key = f"{claim.saga_id}:{idx}"
        return changed(
            self._state,
            step_idx=idx,
            step_id=entry.id or step.name,
            attempt=row.compensation_attempts + 1 if is_undo else row.attempts,
            idempotency_key=key + ":undo" if is_undo else key,
            params=cast("dict[str, Json]", copy(dict(entry.params))) if entry.params else entry.params,
            checkpoint=row.checkpoint,
            outcome=outcome,
            deadline=row.deadline_at,
            _context=self.fold.below(idx + 1 if is_undo else idx),
            _context_bytes=self.fold.size,
            _check=_check(claim.saga_id, claim.lease, step.timeout, is_undo=is_undo),
            _connection=connection,
        )

    # -- what is recorded ----------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Put a new attempt on record."""
        idx = self.claim.position.idx
        if not self.arm():
            return
        self._failpoints.hit("begin.before", idx)
        self.claim.begin(self.step.timeout)
        self._failpoints.hit("begin.after", idx)

    def advance(self, result: SagaState, within: StepTransaction | None = None) -> None:
        """Complete the step and begin the next one, or complete the saga."""
        claim = self.claim
        idx = claim.position.idx
        following = None
        is_stopping = self.is_stopping
        if idx + 1 < len(self._steps):
            after = self._steps[idx + 1]
            following = Following(name=after.name, timeout=after.timeout)
            # The finished step goes on record whatever comes: without a watcher the next one is not begun.
            is_stopping = is_stopping or not self._is_armed(after)
        else:
            self._place.disarm()
        self.fold.add(idx, output_delta(result), output_sizes(result))
        self._failpoints.hit("advance.before", idx)
        claim.advance(
            output_text(result),
            following=following,
            begin_next=following is not None and not is_stopping,
            undo_timeout=self.plan.undo_timeout,
            context=self.fold.text,
            within=within,
        )
        self._failpoints.hit("advance.after", idx)

    def _is_armed(self, step: Step) -> bool:
        try:
            arm(self._place, step, self._grace)
        except Exception as exc:  # noqa: BLE001 - no thread can be made, say: the saga is let go, and another goes on
            log.error("step %s cannot be watched here: %s", step.name, exc)  # noqa: TRY400 - the sentence says it all
            self.is_unwatched = True
            return False
        return True

    def retry(self, retry: walk.Retry) -> None:
        """Let the attempt be made again: in place after a short delay, else by the worker that is rung then."""
        self._place.disarm()
        is_long = retry.delay >= PARK_FROM
        self.claim.retry(retry, park=is_long, undo_timeout=self.plan.undo_timeout)
        if not is_long:
            self._wait(retry.delay)

    def fail(self, fail: walk.Fail) -> None:
        """Stop going forward, and mark the first undo."""
        idx = self.claim.position.idx
        self._place.disarm()
        self._failpoints.hit("fail.before", idx)
        self.claim.fail(fail, undo_timeout=self.plan.undo_timeout)
        self._failpoints.hit("fail.after", idx)

    def record_undo(self, record: walk.RecordUndo, *, attempted: bool) -> None:
        """End the undo of the row for good."""
        idx = self.claim.position.idx
        self._place.disarm()
        self._failpoints.hit("compensated.before", idx)
        self.claim.compensated(record, attempted=attempted, undo_timeout=self.plan.undo_timeout)
        self._failpoints.hit("compensated.after", idx)

    def let_go(self) -> None:
        """Yield the saga politely."""
        idx = self.claim.position.idx
        self._failpoints.hit("yield.before", idx)
        self.claim.yield_()
        self._failpoints.hit("yield.after", idx)
        self.has_yielded = True

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self.is_stopping:
            if self.claim.lease.cancel_requested and self.claim.position.status is RunStatus.RUNNING:
                return
            time.sleep(min(left, 0.1))

    # -- its end -------------------------------------------------------------------------------------------------------

    @property
    def outcome(self) -> str:
        """How the episode ended, in the words of the ledger."""
        status = self.claim.position.status
        if status.is_terminal:
            return str(status)
        return "yielded" if self.has_yielded else "parked"

    def end(self, outcome: str, run: SagaRun | None = None) -> EpisodeEnd:
        """What is told of the episode."""
        status, idx = self.claim.position.status, self.claim.position.idx
        doorbell = None if status.is_terminal else self.plan.doorbell(idx)
        return EpisodeEnd(saga_id=self.claim.saga_id, status=status, outcome=outcome, doorbell=doorbell, run=run)

    def completed(self) -> SagaRun | None:
        """The completed run without reading it again: everything else on it is frozen since it was claimed."""
        claim = self.claim
        if claim.completed is None:
            return None
        return changed(
            self.plan.run,
            status=claim.position.status,
            current_step_idx=claim.position.idx,
            fence=claim.fence,
            waiting_for=None,
            wake_at=None,
            context=claim.completed["context"],
            started_at=claim.completed["started_at"],
            completed_at=claim.completed["completed_at"],
        )


def arm(place: Place, step: Step, grace: float) -> None:
    """The hard end comes within the grace after the soft one, and never later than quarantine reckons with."""
    place.arm(step.timeout.total_seconds() + grace, slack=min(1.0, grace / 2))


def _check(saga_id: str, lease: Lease, timeout: timedelta, *, is_undo: bool) -> Callable[[], None]:
    """What `state.check_cancelled` does."""
    deadline = Deadline(timeout.total_seconds())

    def check() -> None:
        if lease.is_lost:
            raise StepCancelled(f"saga {saga_id} is no longer held by this worker")
        if lease.cancel_requested and not is_undo:
            raise StepCancelled(f"saga {saga_id} was cancelled")
        if deadline.has_passed:
            raise StepTimedOut("TIMEOUT has passed")

    return check
