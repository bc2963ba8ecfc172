"""What a step sees: its inputs, what earlier steps put out, and who it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Self, cast

from sagaworker.domain.changed import changed
from sagaworker.domain.values import Json, checked_copy, copy, encoded
from sagaworker.errors import InvalidInput

_EMPTY: Mapping[str, Json] = MappingProxyType({})


def _nothing() -> Mapping[str, Json]:
    return _EMPTY


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueLimits:
    """Bytes of JSON text: one step's outputs together, and the outputs of all steps together."""

    output: int = 256 * 1024
    context: int = 1024 * 1024


class ProbeAnswer(StrEnum):
    """What a probe found out about the attempt in doubt."""

    COMPLETED = "completed"
    ABSENT = "absent"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Probed:
    """What `probe(state)` returns: one of three answers, each spelled out, so that none is given by forgetting.

    >>> Probed.absent()
    Probed(answer=<ProbeAnswer.ABSENT: 'absent'>, state=None, reason='')
    """

    answer: ProbeAnswer
    state: SagaState | None = None
    reason: str = ""

    @classmethod
    def completed(cls, state: SagaState) -> Self:
        """It happened. `state` is the given one, or one made from it by put_output with what execute would have put out."""
        return cls(ProbeAnswer.COMPLETED, state)

    @classmethod
    def absent(cls) -> Self:
        """It did not happen, and no request of an earlier attempt can still arrive: it is begun again."""
        return cls(ProbeAnswer.ABSENT)

    @classmethod
    def unknown(cls, reason: str = "") -> Self:
        """It cannot be said: the saga waits for an operator, who is shown `reason`."""
        return cls(ProbeAnswer.UNKNOWN, None, reason)


@dataclass(frozen=True, kw_only=True, eq=False)
class SagaState:
    """Immutable view of a saga for one attempt of one step.

    `put_output` returns a new state; return that state from `execute`. Values are checked and copied on the way in and
    copied on the way out, so nothing a step keeps or changes reaches another step except through the ledger.

    Attributes:
        saga_id: the saga run, text of a uuid.
        step_idx: place in the list, from 0. step_id: its `id`, default the step's name.
        attempt: 1 for the first attempt of this step.
        idempotency_key: the same for every attempt of this step (`saga:idx`); its undo has `saga:idx:undo`. Hand it to
            the systems you call: effects happen at least once, and this key is how they become one.
        fence: rises with every episode of the saga. A system that remembers the highest fence it saw can refuse a
            late worker (Kleppmann, How to do distributed locking, 2016).
        params: `params` of this entry of the step list.
        checkpoint: what an earlier attempt noted with `upsert_step_result`, else None.
        outcome: in compensate, "completed", or "unknown" when the step may or may not have happened; else None.
        mode: "live".
        deadline: when TIMEOUT ends this attempt, by the database's clock.
    """

    saga_id: str
    step_idx: int
    step_id: str
    attempt: int
    idempotency_key: str
    fence: int
    params: Mapping[str, Json] = field(default_factory=_nothing, repr=False)
    checkpoint: Json = field(default=None, repr=False)
    outcome: str | None = None
    mode: str = "live"
    deadline: datetime | None = None
    _inputs: Mapping[str, Json] = field(default_factory=_nothing, repr=False)
    _context: Mapping[str, Json] = field(default_factory=_nothing, repr=False)
    _context_bytes: int = field(default=2, repr=False)
    _delta: Mapping[str, Json] = field(default_factory=_nothing, repr=False)
    _delta_text: Mapping[str, str] = field(default_factory=dict, repr=False)
    _limits: ValueLimits = field(default=ValueLimits(), repr=False)
    _check: Callable[[], None] | None = field(default=None, repr=False)
    _connection: object = field(default=None, repr=False)

    @property
    def inputs(self) -> Mapping[str, Json]:
        """The saga's inputs, a read-only copy."""
        return MappingProxyType(cast("dict[str, Json]", copy(dict(self._inputs))))

    @property
    def outputs(self) -> Mapping[str, Json]:
        """What this step has put out so far, a read-only copy."""
        return MappingProxyType(cast("dict[str, Json]", copy(dict(self._delta))))

    @property
    def connection(self) -> Any:
        """In execute of a TRANSACTIONAL step: a psycopg connection in the transaction that also records the step.

        What is written through it happens exactly once: it is committed with the step's completion, or not at all.
        `commit`, `rollback`, `close` and the rest that would end the transaction raise.

        Raises:
            InvalidInput: the step does not declare TRANSACTIONAL = True, or this is its undo.
        """
        if self._connection is None:
            raise InvalidInput(
                f"connection of step {self.step_idx} ({self.step_id}) must be asked for in execute of a TRANSACTIONAL"
                " step, got another",
                "declare TRANSACTIONAL = True; an undo is an ordinary one and opens its own connection",
            )
        return self._connection

    def get_input(self, name: str, default: Json = None) -> Json:
        """One of the saga's inputs, or `default`."""
        return copy(self._inputs[name]) if name in self._inputs else default

    def get_output(self, name: str, default: Json = None) -> Json:
        """What this step or the latest earlier one put out under `name`, or `default`."""
        if name in self._delta:
            return copy(self._delta[name])
        return copy(self._context[name]) if name in self._context else default

    def put_output(self, name: str, value: object) -> SagaState:
        """Return a new state that also puts out `value` under `name`; it is recorded when the step returns that state.

        Raises:
            InvalidInput: not JSON, nested deeper than 64, not finite, NUL or a lone surrogate in a text, or beyond the
                size limits. Nothing changed.
        """
        subject = f"output of step {self.step_idx} ({self.step_id}) of saga {self.saga_id}"
        if not isinstance(name, str) or not name:
            raise InvalidInput(f"{subject} must have a name that is text, got {name!r}")
        name = str.__str__(name)  # a subclass may have a hash of its own
        pair = cast("dict[str, Json]", checked_copy({name: value}, subject))
        text = f"{encoded(name)}:{encoded(pair[name])}"
        delta_text = {**self._delta_text, name: text}
        size = 1 + sum(len(part) + 1 for part in delta_text.values())
        if size > self._limits.output:
            raise InvalidInput(
                f"{subject} must be at most {self._limits.output} bytes of JSON, got {size}",
                "store the large value elsewhere and put out a reference to it, or raise SAGAWORKER_MAX_OUTPUT_BYTES",
            )
        if self._context_bytes + size > self._limits.context:
            raise InvalidInput(
                f"context of saga {self.saga_id} must be at most {self._limits.context} bytes of JSON,"
                f" got {self._context_bytes + size} with this {subject}",
                "put out less, or raise SAGAWORKER_MAX_CONTEXT_BYTES",
            )
        return self._with({**self._delta, **pair}, delta_text)

    def _with(self, delta: Mapping[str, Json], delta_text: Mapping[str, str]) -> SagaState:
        return changed(self, _delta=delta, _delta_text=delta_text)

    def check_cancelled(self) -> None:
        """Raise where the step should stop early: cancelled, fenced, or past its deadline. Else return.

        Call it in long loops. Leaving by this exception leaves the attempt in doubt, so the step is undone too.

        Raises:
            StepCancelled: a cancel was accepted, or another worker holds the saga now.
            StepTimedOut: TIMEOUT has passed (on pools where no signal can raise it).
        """
        if self._check is not None:
            self._check()


def output_text(state: SagaState) -> str:
    """The recorded form of a step's outputs: JSON text of an object."""
    return "{" + ",".join(state._delta_text.values()) + "}"  # noqa: SLF001 - the runner's door into the state


def output_delta(state: SagaState) -> Mapping[str, Json]:
    """The step's outputs as they were checked; not a copy."""
    return state._delta  # noqa: SLF001 - the runner's door into the state


def output_sizes(state: SagaState) -> dict[str, int]:
    """Bytes of JSON text of each output pair."""
    return {name: len(text) for name, text in state._delta_text.items()}  # noqa: SLF001 - the runner's door


def descends_from(result: object, given: SagaState) -> bool:
    """Whether `result` is the given state or was made from it by put_output."""
    return (
        isinstance(result, SagaState)
        and (result.saga_id, result.step_idx, result.attempt, result.fence)
        == (given.saga_id, given.step_idx, given.attempt, given.fence)
        and result.outcome == given.outcome
    )
