"""One episode: claim a saga, walk it, let it go. Decisions come from domain.walk; this carries them out."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import assert_never, cast

from sagaworker.domain import walk
from sagaworker.domain.fold import Fold
from sagaworker.domain.records import Doorbell, SagaRun
from sagaworker.domain.state import SagaState, ValueLimits, output_delta, output_sizes, output_text
from sagaworker.domain.status import RunStatus, StepStatus, WaitingFor
from sagaworker.domain.steplist import StepEntry, thawed
from sagaworker.domain.values import Json, copy
from sagaworker.errors import Fenced, InvalidInput, SagaNotFound, StepCancelled, StepTimedOut, UnknownStep
from sagaworker.failpoints import Failpoints
from sagaworker.heartbeat import Heartbeat
from sagaworker.ledger.hold import Following, Hold
from sagaworker.ledger.line import Line
from sagaworker.ledger.moves import Claimer, Ledger
from sagaworker.ledger.stepping import StepTransaction, TransactionEnded, TransactionLost, TransactionRefused
from sagaworker.registry import Registry, Step
from sagaworker.runner.attempt import executed, probed, refusal, undone
from sagaworker.runner.place import Deadline, Place
from sagaworker.settings import Settings

log = logging.getLogger(__name__)

EXECUTE = ("execute.before", "execute.after")
COMPENSATE = ("compensate.before", "compensate.after")
ENDED = "a TRANSACTIONAL step must leave its transaction open, got one that it ended by a statement"
LOST_TRIES = 3  # further attempts of a transaction that was lost by no fault of its step
PARK_FROM = 5.0  # seconds: a shorter wait for a retry is slept in place, a longer one frees the worker


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeEnd:
    """How one delivery of a doorbell ended: the run's status, and what became of the hold.

    `outcome` is an episode's outcome (completed, rolled_back, failed, parked, yielded), or one of
    `busy` (held elsewhere, waiting or over: nothing was claimed), `fenced` (taken over in the middle: nothing more was
    written), `interrupted` (Ctrl-C inside a step), `unrunnable` (a step is missing here; `reason` says which).
    """

    saga_id: str
    status: RunStatus
    outcome: str
    reason: str = ""
    doorbell: Doorbell | None = None
    run: SagaRun | None = None  # as the ledger has it, where the walk completed the saga and so knows all of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Observer:
    """What the surroundings of a walk want and give. `should_stop` is asked between steps; `entered` sees each entry."""

    should_stop: Callable[[], bool] = lambda: False
    entered: Callable[[Doorbell, RunStatus], None] | None = None


class Runner:
    """Walks sagas in this process, any number at a time in different threads, one saga at most once at a time."""

    def __init__(
        self, ledger: Ledger, registry: Registry, heartbeat: Heartbeat, settings: Settings, failpoints: Failpoints
    ) -> None:
        self._ledger = ledger
        self._registry = registry
        self._heartbeat = heartbeat
        self._settings = settings
        self._failpoints = failpoints
        self._here: set[str] = set()
        self._lock = threading.Lock()

    def run_episode(self, saga_id: str, claimer: Claimer, place: Place, observer: Observer) -> EpisodeEnd:
        """Claim and walk one saga until it ends, waits, or should stop. At most one episode; never raises for a step.

        Raises:
            SagaNotFound: there is no such run.
        """
        with self._walking_once(saga_id) as is_first, Line(self._ledger.database) as line:
            loaded = self._ledger.load(saga_id, line)
            if loaded is None:
                raise SagaNotFound(saga_id)
            seen = loaded.run
            if not is_first or not loaded.is_claimable or observer.should_stop():
                return EpisodeEnd(saga_id=saga_id, status=seen.status, outcome="busy")
            try:
                entries, steps = self._list_of(seen)
            except UnknownStep as exc:
                log.error("saga %s waits: %s", saga_id, exc)  # noqa: TRY400 - the sentence says it all
                self._ledger.pass_over(saga_id, seen.fence, str(exc))
                return EpisodeEnd(saga_id=saga_id, status=seen.status, outcome="unrunnable", reason=str(exc))
            with place.entered():
                return _Episode(self, seen, entries, steps, place, observer).run(claimer, line)

    def _list_of(self, seen: SagaRun) -> tuple[Sequence[StepEntry], Sequence[Step]]:
        """The entries of a run's list and their steps.

        Raises:
            UnknownStep: a step is missing here, or what the ledger holds is no list that could be walked.
        """
        try:
            entries = thawed(seen.step_modules)
        except (AttributeError, KeyError, TypeError) as exc:
            raise UnknownStep(f"step list of saga {seen.id} must be readable, got {type(exc).__name__}: {exc}") from exc
        if not 0 <= seen.current_step_idx < len(entries):
            raise UnknownStep(
                f"step {seen.current_step_idx} of saga {seen.id} must be in its list, got {len(entries)} entries"
            )
        if not isinstance(seen.inputs, dict):
            raise UnknownStep(f"inputs of saga {seen.id} must be an object, got a {type(seen.inputs).__name__}")
        return entries, [self._registry.step(entry.step) for entry in entries]

    @contextmanager
    def _walking_once(self, saga_id: str) -> Iterator[bool]:
        with self._lock:
            is_first = saga_id not in self._here
            self._here.add(saga_id)
        try:
            yield is_first
        finally:
            if is_first:
                with self._lock:
                    self._here.discard(saga_id)


class _Episode:
    """The state of one walk; lives for one `run`."""

    def __init__(
        self,
        runner: Runner,
        seen: SagaRun,
        entries: Sequence[StepEntry],
        steps: Sequence[Step],
        place: Place,
        observer: Observer,
    ) -> None:
        self._ledger = runner._ledger  # noqa: SLF001 - one module, two classes
        self._heartbeat = runner._heartbeat  # noqa: SLF001
        self._failpoints = runner._failpoints  # noqa: SLF001
        self._seen = seen
        self._entries = entries
        self._steps = steps
        self._place = place
        self._observer = observer
        settings = runner._settings  # noqa: SLF001
        self._limits = ValueLimits(output=settings.max_output_bytes, context=settings.max_context_bytes)
        self._grace = settings.step_grace.total_seconds()
        # One bound for every undo of this list: the lease's cap is the last line of defence, not the time-out.
        self._undo_timeout = max(step.timeout for step in steps)
        self._fold = Fold()
        self._has_yielded = False
        self._hold: Hold

    def run(self, claimer: Claimer, line: Line) -> EpisodeEnd:
        step = self._steps[self._seen.current_step_idx]
        self._arm(step)
        try:
            self._failpoints.hit("claim.before", self._seen.current_step_idx)
            hold = self._ledger.claim(
                self._seen,
                claimer,
                line,
                step_name=step.name,
                timeout=step.timeout,
                undo_timeout=self._undo_timeout,
                doubts=not step.policy.transactional,
            )
            if hold is None:
                return self._end("busy")
            self._failpoints.hit("claim.after", self._seen.current_step_idx)
            self._hold = hold
            self._heartbeat.add(hold)
            try:
                return self._walk()
            finally:
                self._heartbeat.remove(hold)
        finally:
            self._place.disarm()

    def _walk(self) -> EpisodeEnd:
        hold = self._hold
        try:
            if hold.position.idx > 0 or hold.position.status is RunStatus.COMPENSATING:
                for idx, output in hold.outputs():
                    self._fold.add(idx, output)
            while hold.is_open:
                self._carry_out(self._next_move())
        except Fenced:
            log.warning("saga %s was taken over; this worker stops and writes nothing", hold.saga_id)
            return self._end("fenced")
        except KeyboardInterrupt:
            # Inside a step: its attempt is in doubt, so it is given up as if this process had died, and counted.
            self._ledger.take_over_own(hold)
            return self._end("interrupted")
        end = self._end(self._outcome())
        return replace(end, run=self._completed()) if hold.completed is not None else end

    def _completed(self) -> SagaRun:
        """The completed run without reading it again: everything else on it is frozen since it was claimed."""
        hold = self._hold
        assert hold.completed is not None
        return replace(
            self._seen,
            status=hold.position.status,
            current_step_idx=hold.position.idx,
            fence=hold.fence,
            waiting_for=None,
            wake_at=None,
            context=hold.completed["context"],
            started_at=hold.completed["started_at"],
            completed_at=hold.completed["completed_at"],
        )

    def _outcome(self) -> str:
        position = self._hold.position
        if position.status.is_terminal:
            return str(position.status)
        return "yielded" if self._has_yielded else "parked"

    def _end(self, outcome: str) -> EpisodeEnd:
        status = self._hold.position.status if hasattr(self, "_hold") else self._seen.status
        idx = self._hold.position.idx if hasattr(self, "_hold") else self._seen.current_step_idx
        return EpisodeEnd(saga_id=self._seen.id, status=status, outcome=outcome, doorbell=self._doorbell(idx))

    def _doorbell(self, idx: int) -> Doorbell:
        seen = self._seen
        return Doorbell(
            saga_id=seen.id,
            kind=seen.kind,
            key=seen.key,
            step_idx=idx,
            step_count=len(self._steps),
            step_name=self._steps[idx].name,
            queue=seen.queue,
            priority=seen.priority,
        )

    @property
    def _step(self) -> Step:
        return self._steps[self._hold.position.idx]

    @property
    def _is_stopping(self) -> bool:
        return self._observer.should_stop() or self._hold.lease.is_lost

    def _next_move(self) -> walk.NextMove:
        return walk.next_move(self._hold.position, self._step.policy, stopping=self._is_stopping)

    def _carry_out(self, move: walk.NextMove) -> None:  # noqa: C901 - one case for each move
        hold = self._hold
        match move:
            case walk.Execute():
                self._execute()
            case walk.Begin():
                self._begin()
            case walk.Compensate():
                self._compensate()
            case walk.Fail():
                self._fail(move)
            case walk.RecordUndo():
                self._record_undo(move, attempted=False)
            case walk.Quarantine():
                hold.park(WaitingFor.QUARANTINE, move.seconds)
            case walk.AskOperator():
                hold.park(WaitingFor.OPERATOR, None, move.error)
            case walk.Probe():
                self._probe()
            case walk.LetGo():
                self._let_go()
            case walk.Finished():
                raise AssertionError("a finished saga has no open episode")
            case _:
                assert_never(move)

    def _arm(self, step: Step) -> None:
        """The hard end comes within the grace after the soft one, and never later than quarantine reckons with."""
        self._place.arm(step.timeout.total_seconds() + self._grace, slack=min(1.0, self._grace / 2))

    def _begin(self) -> None:
        idx = self._hold.position.idx
        self._arm(self._step)
        self._failpoints.hit("begin.before", idx)
        self._hold.begin(self._step.timeout)
        self._failpoints.hit("begin.after", idx)

    def _execute(self) -> None:
        step, row = self._step, self._hold.position.row
        if step.policy.transactional:
            self._execute_in_transaction()
            return
        state = self._state(outcome=None)
        self._enter(RunStatus.RUNNING)
        ended = self._place.call(lambda: self._called(EXECUTE, step.execute, state), step.timeout.total_seconds())
        if isinstance(ended.exception, KeyboardInterrupt):
            raise ended.exception
        result = executed(ended, state, step.policy.retry)
        if isinstance(result, SagaState):
            self._advance(result)
            return
        decided = walk.after_execute(row, result, step.policy, draw=random.random())  # noqa: S311 - jitter
        if isinstance(decided, walk.Retry):
            self._retry(decided)
        else:
            self._fail(decided)

    def _execute_in_transaction(self) -> None:
        """A TRANSACTIONAL step: whatever it raises, its transaction was rolled back, so its failure is definite."""
        step, policy = self._step, self._step.policy
        self._enter(RunStatus.RUNNING)
        try:
            with self._ledger.step_transaction(step.timeout) as transaction:
                state = self._state(outcome=None, connection=transaction.connection)
                ended = self._place.call(
                    lambda: self._called(EXECUTE, step.execute, state), step.timeout.total_seconds()
                )
                if isinstance(ended.exception, KeyboardInterrupt):
                    raise ended.exception
                result = executed(ended, state, policy.retry)
                if isinstance(result, SagaState):
                    self._advance(result, within=transaction)
                    return
                failed = replace(result, definite=not transaction.was_ended)
        except TransactionRefused as refused:
            failed = refusal(refused.cause, policy.retry, definite=True)
        except TransactionEnded:
            failed = refusal(InvalidInput(ENDED, "return the state to commit"), policy.retry, definite=False)
        except TransactionLost as lost:
            failed = replace(refusal(lost, policy.retry, definite=True), retryable=True)
            more = replace(policy.retry, max_attempts=policy.retry.max_attempts + LOST_TRIES)
            policy = replace(policy, retry=more)
        self._refold()
        decided = walk.after_execute(self._hold.position.row, failed, policy, draw=random.random())  # noqa: S311 - jitter
        if isinstance(decided, walk.Retry):
            self._retry(decided)
        else:
            self._fail(decided)

    def _refold(self) -> None:
        """Take out of the fold what was added for an advance that did not happen."""
        self._fold = Fold()
        for idx, output in self._hold.outputs():
            self._fold.add(idx, output)

    def _advance(self, result: SagaState, within: StepTransaction | None = None) -> None:
        hold = self._hold
        idx = hold.position.idx
        following = None
        is_stopping = self._is_stopping
        if idx + 1 < len(self._steps):
            following = Following(name=self._steps[idx + 1].name, timeout=self._steps[idx + 1].timeout)
            if not is_stopping:
                self._arm(self._steps[idx + 1])
        self._fold.add(idx, output_delta(result), output_sizes(result))
        self._failpoints.hit("advance.before", idx)
        hold.advance(
            output_text(result),
            following=following,
            begin_next=following is not None and not is_stopping,
            undo_timeout=self._undo_timeout,
            context=self._fold.text,
            within=within,
        )
        self._failpoints.hit("advance.after", idx)

    def _probe(self) -> None:
        """Ask the step whether its attempt in doubt happened. No new attempt is counted, whatever it answers."""
        hold, step = self._hold, self._step
        assert step.probe is not None
        probe = step.probe
        self._arm(step)
        state = self._state(outcome=None)
        self._enter(RunStatus.RUNNING)
        ended = self._place.call(
            lambda: self._called(("probe.before", "probe.after"), probe, state), step.timeout.total_seconds()
        )
        if isinstance(ended.exception, KeyboardInterrupt):
            raise ended.exception
        answer, result = probed(ended, state)
        match walk.after_probe(hold.position.row, answer):
            case walk.Advanced():
                assert result is not None
                self._advance(result)
            case walk.Absent():
                hold.absent()
            case walk.AskOperator(error):
                hold.park(WaitingFor.OPERATOR, None, error)
            case walk.Quarantine(seconds=seconds):
                hold.park(WaitingFor.QUARANTINE, seconds)

    def _compensate(self) -> None:
        step, row = self._step, self._hold.position.row
        if step.compensate is None:
            self._record_undo(walk.RecordUndo(result=StepStatus.COMPENSATED), attempted=False)
            return
        compensate = step.compensate
        self._arm(step)
        state = self._state(outcome="completed" if row.has_completed else "unknown")
        self._enter(RunStatus.COMPENSATING)
        ended = self._place.call(lambda: self._called(COMPENSATE, compensate, state), step.timeout.total_seconds())
        if isinstance(ended.exception, KeyboardInterrupt):
            raise ended.exception
        failed = undone(ended, step.policy.undo_retry)
        decided = walk.after_undo(row, failed, step.policy, draw=random.random())  # noqa: S311 - jitter
        if isinstance(decided, walk.Retry):
            self._retry(decided)
        else:
            self._record_undo(decided, attempted=True)

    def _called(self, points: tuple[str, str], function: Callable[[SagaState], object], state: SagaState) -> object:
        """User code between its two failpoints: what they raise is raised in it."""
        self._failpoints.hit(points[0], state.step_idx)
        result = function(state)
        self._failpoints.hit(points[1], state.step_idx)
        return result

    def _record_undo(self, record: walk.RecordUndo, *, attempted: bool) -> None:
        idx = self._hold.position.idx
        self._failpoints.hit("compensated.before", idx)
        self._hold.compensated(record, attempted=attempted, undo_timeout=self._undo_timeout)
        self._failpoints.hit("compensated.after", idx)

    def _fail(self, fail: walk.Fail) -> None:
        idx = self._hold.position.idx
        self._place.disarm()
        self._failpoints.hit("fail.before", idx)
        self._hold.fail(fail, undo_timeout=self._undo_timeout)
        self._failpoints.hit("fail.after", idx)

    def _retry(self, retry: walk.Retry) -> None:
        self._place.disarm()
        is_long = retry.delay >= PARK_FROM
        self._hold.retry(retry, park=is_long, undo_timeout=self._undo_timeout)
        if not is_long:
            self._wait(retry.delay)

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._is_stopping:
            if self._hold.lease.cancel_requested and self._hold.position.status is RunStatus.RUNNING:
                return
            time.sleep(min(left, 0.1))

    def _let_go(self) -> None:
        idx = self._hold.position.idx
        self._failpoints.hit("yield.before", idx)
        self._hold.yield_()
        self._failpoints.hit("yield.after", idx)
        self._has_yielded = True

    def _enter(self, status: RunStatus) -> None:
        if self._observer.entered is not None:
            self._observer.entered(self._doorbell(self._hold.position.idx), status)

    def _state(self, outcome: str | None, connection: object = None) -> SagaState:
        hold, step = self._hold, self._step
        idx, row = hold.position.idx, hold.position.row
        entry = self._entries[idx]
        is_undo = outcome is not None
        key = f"{hold.saga_id}:{idx}"
        return SagaState(
            saga_id=hold.saga_id,
            step_idx=idx,
            step_id=entry.id or step.name,
            attempt=row.compensation_attempts + 1 if is_undo else row.attempts,
            idempotency_key=key + ":undo" if is_undo else key,
            fence=hold.fence,
            params=cast("dict[str, Json]", copy(dict(entry.params))) if entry.params else entry.params,
            checkpoint=row.checkpoint,
            outcome=outcome,
            mode=self._seen.mode,
            deadline=row.deadline_at,
            _inputs=self._seen.inputs,
            _context=self._fold.below(idx + 1 if is_undo else idx),
            _context_bytes=self._fold.size,
            _limits=self._limits,
            _check=self._check(step.timeout, is_undo=is_undo),
            _connection=connection,
        )

    def _check(self, timeout: timedelta, *, is_undo: bool) -> Callable[[], None]:
        deadline = Deadline(timeout.total_seconds())
        lease, saga_id = self._hold.lease, self._hold.saga_id

        def check() -> None:
            if lease.is_lost:
                raise StepCancelled(f"saga {saga_id} is no longer held by this worker")
            if lease.cancel_requested and not is_undo:
                raise StepCancelled(f"saga {saga_id} was cancelled")
            if deadline.has_passed:
                raise StepTimedOut("TIMEOUT has passed")

        return check
