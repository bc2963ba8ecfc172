"""The moves of operators: hold, release, retry, skip, resolve. Each is journaled with who and why."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sagaworker.catalog.registry import Registry
from sagaworker.domain.explain import Explanation, explain, is_passed_over, undo_list
from sagaworker.domain.options import checked_note, checked_words
from sagaworker.domain.records import SagaRun, StepResult, Timeline
from sagaworker.domain.status import RunStatus, StepStatus, WaitingFor
from sagaworker.domain.steplist import StepEntry, thawed
from sagaworker.domain.values import Json
from sagaworker.domain.walk import InDoubt
from sagaworker.engine.doorbells import EngineDoorbells
from sagaworker.errors import InvalidInput, MoveRefused, UnknownStep
from sagaworker.ledger.operators import Order
from sagaworker.reads.names import checked_id
from sagaworker.settings import Settings

_RETRIED = "be failed, wait for an operator, or be one that no worker could run"


class EngineOperators(EngineDoorbells):
    """The engine's part for operators. Every move is atomic, lands once, and leaves one journal row with who and why.

    All of them take `reason` (why), `who` (the person who decides) and `seq`, the number of the journal row at which
    the caller looked: the move is refused where the saga has moved on since. With `request`, an id of the caller's own,
    the same request again does nothing.

    Raises:
        MoveRefused: the move does not apply to the saga as it is now. Nothing changed.
        StaleView: it has moved since `seq`. Nothing changed.
        SagaNotFound: there is no such run.
    """

    def hold(
        self, saga_id: str, *, reason: str, who: str, seq: int | None = None, request: str | None = None
    ) -> SagaRun:
        """Let nothing new begin, until released. The step or undo that runs now ends first."""
        order, done = self._ordered(saga_id, reason, who, seq, request)
        if done is not None:
            return done
        if self.operating.hold(order) is None:
            _refuse(self, order.saga_id, "hold", "be active and wait for no person")
        return self.get(order.saga_id)

    def release(
        self, saga_id: str, *, reason: str, who: str, seq: int | None = None, request: str | None = None
    ) -> SagaRun:
        """End a hold. A cancel that was accepted meanwhile acts now. A halted undo goes on waiting for an operator."""
        order, done = self._ordered(saga_id, reason, who, seq, request)
        if done is not None:
            return done
        if self.operating.release(order) is None:
            _refuse(self, order.saga_id, "release", "be on hold")
        run = self.get(order.saga_id)
        if run.waiting_for is None:
            self.ring(order.saga_id)
        return run

    def retry(
        self,
        saga_id: str,
        *,
        reason: str,
        who: str,
        seq: int | None = None,
        undo: bool = False,
        request: str | None = None,
    ) -> SagaRun:
        """Try again where a saga stopped: at a failed undo, at a step in doubt, or at the step where the saga was given up.

        A failed undo gets all its tries again; in a failed saga every failed undo does, the highest first. A step in
        doubt is begun again under the same idempotency key, and stays in doubt; if the step declares a probe, the probe
        runs again instead. A saga that ended `failed` as an orphan goes on from its step, which gets all its tries
        again. With `undo` it is undone instead; without anything to undo it is `rolled_back` at once. A saga that no
        worker could run, because a step's module is missing, is rung, and rung again as often as a new saga.
        """
        order, done = self._ordered(saga_id, reason, who, seq, request)
        if done is not None:
            return done
        timeline = self.timeline(order.saga_id)
        run, idx = timeline.run, timeline.run.current_step_idx
        if is_passed_over(timeline) and not undo:
            if self.operating.retry_passed_over(order) is None:
                _refuse(self, order.saga_id, "retry", _RETRIED)
            self.ring(order.saga_id)
            return self.get(order.saga_id)
        # An undo does not need the step in this process. A doubted step does: its declaration must not be guessed.
        is_undo = undo or run.status is RunStatus.COMPENSATING or _has_failed_undo(timeline)
        begin_again = is_undo or _begins_again(self, run)
        if run.status is RunStatus.FAILED:
            status = self.operating.reopen(order, idx=idx, undo=undo, begin_again=begin_again)
        elif undo:
            raise MoveRefused(order.saga_id, "retry with undo", "be failed", _found(run))
        elif run.status is RunStatus.COMPENSATING:
            status = self.operating.retry_undo(order)
        else:
            status = self.operating.retry_step(order, idx=idx, begin_again=begin_again)
        if status is None:
            _refuse(self, order.saga_id, "retry", _RETRIED)
        self.ring(order.saga_id)
        return self.get(order.saga_id)

    def skip(
        self, saga_id: str, *, reason: str, who: str, seq: int | None = None, request: str | None = None
    ) -> SagaRun:
        """Leave one row as it is: the undo at which the saga halted, or the step in doubt. Earlier steps are undone."""
        order, done = self._ordered(saga_id, reason, who, seq, request)
        if done is not None:
            return done
        status = self.operating.skip_undo(order) or self.operating.skip_step(order)
        if status is None:
            _refuse(self, order.saga_id, "skip", "wait for an operator")
        self.ring(order.saga_id)
        return self.get(order.saga_id)

    def resolve(
        self,
        saga_id: str,
        *,
        happened: bool,
        reason: str,
        who: str,
        outputs: Mapping[str, Any] | None = None,
        seq: int | None = None,
        request: str | None = None,
    ) -> SagaRun:
        """Say what became of the step in doubt: it `happened`, with these outputs ({} for none), or it did not.

        If the step happened, it is completed and the saga goes on after it. If not, its doubt is over and it is begun again.
        Where a cancel was accepted meanwhile the saga is undone instead, this step only if it happened. "Did not happen"
        is refused until a late effect of the attempt can no longer come (see quarantine).

        Raises:
            InvalidInput: it happened and `outputs` is None, or it did not happen and `outputs` is given. Nothing changed.
        """
        order, done = self._ordered(saga_id, reason, who, seq, request)
        if done is not None:
            return done
        if happened and outputs is None:
            raise InvalidInput(
                "outputs must be given for a step that happened, {} where it put out nothing, got None",
                "at a terminal: --output NAME=VALUE, --output-json JSON or --no-output",
            )
        run = self.get(order.saga_id)
        if not happened:
            if outputs:
                raise InvalidInput("outputs cannot be given for a step that did not happen")
            status = self.operating.resolve_absent(order)
        else:
            output = _checked_outputs(self.settings, run, outputs)
            status = self.operating.resolve_happened(
                order, idx=run.current_step_idx, output=output, next_name=_next_name(self.registry, run)
            )
        if status is None:
            rule = "wait for an operator because of a step in doubt"
            _refuse(self, order.saga_id, "resolve", rule if happened else f"{rule} whose quarantine is over")
        self.ring(order.saga_id)
        return self.get(order.saga_id)

    def explain(self, saga_id: str) -> Explanation:
        """Say in plain words why a saga is where it is, what comes next, and what a person must do."""
        return explain(self.timeline(saga_id), self.operating.now())

    def undo_list(self, saga_id: str) -> list[StepResult]:
        """The rows that a cancel now would undo, in that order; of an undoing saga, the rows still to undo."""
        return undo_list(self.timeline(saga_id))

    def _ordered(
        self, saga_id: str, reason: str, who: str, seq: int | None, request: str | None
    ) -> tuple[Order, SagaRun | None]:
        """The checked order; and the run, where the request is on record: it is done, and not done again."""
        order = _order(self.id_of(saga_id, to_move=True), reason, who, seq, request)
        if not self.operating.has_landed(order):
            return order, None
        run = self.get(order.saga_id)
        if run.waiting_for is None:  # the first time may not have come as far as the ring
            self.ring(order.saga_id)
        return order, run


def _order(saga_id: str, reason: str, who: str, seq: int | None, request: str | None) -> Order:
    if request is not None:
        checked_words(request, "request")
    for name, text in (("reason", reason), ("who", who)):
        checked_words(text, name)
        if not text.strip():
            raise InvalidInput(f"{name} must be given, got nothing", "it is kept in the journal for whoever looks next")
    if seq is not None and (isinstance(seq, bool) or not isinstance(seq, int)):
        raise InvalidInput(f"seq must be the number of a journal row, got {seq!r}")
    return Order(saga_id=checked_id(saga_id), who=who, reason=reason, seq=seq, request=request)


def _found(run: SagaRun) -> str:
    return f"{run.status}" + (f" waiting for {run.waiting_for}" if run.waiting_for else "")


def _refuse(engine: EngineOperators, saga_id: str, move: str, rule: str) -> None:
    timeline = engine.timeline(saga_id)
    run = timeline.run
    row = next((one for one in timeline.steps if one.step_idx == run.current_step_idx), None)
    found = _found(run)
    if run.waiting_for is WaitingFor.OPERATOR and row is not None and row.quarantine_until is not None:
        found += f", quarantine until {row.quarantine_until:%Y-%m-%d %H:%M:%S %Z}"
    raise MoveRefused(saga_id, move, rule, found)


def _has_failed_undo(timeline: Timeline) -> bool:
    return any(row.status is StepStatus.COMPENSATION_FAILED for row in timeline.steps)


def _begins_again(engine: EngineOperators, run: SagaRun) -> bool:
    """Whether the step at the cursor is simply begun again. A step that declares a probe is not: the probe runs instead."""
    step = engine.registry.step(thawed(run.step_modules)[run.current_step_idx].step)
    return step.policy.in_doubt is not InDoubt.PROBE


def _checked_outputs(settings: Settings, run: SagaRun, outputs: Mapping[str, Any] | None) -> dict[str, Json]:
    output = checked_note(dict(outputs or {}), "outputs", settings.max_output_bytes)
    whole = len(json.dumps({**run.context, **output}))
    if whole > settings.max_context_bytes:
        raise InvalidInput(
            f"context of saga {run.id} must be at most {settings.max_context_bytes} bytes of JSON, got {whole} with these outputs"
        )
    return output


def _next_name(registry: Registry, run: SagaRun) -> str | None:
    entries = thawed(run.step_modules)
    if run.current_step_idx + 1 >= len(entries):
        return None
    return _name(registry, entries[run.current_step_idx + 1])


def _name(registry: Registry, entry: StepEntry) -> str:
    """The step's own name; where its module is missing, the last word of its dotted name, as for a step without a NAME."""
    try:
        return registry.step(entry.step).name
    except UnknownStep:
        return entry.short_name
