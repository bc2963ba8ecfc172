"""Definitions: the declaration of a kind of saga, in code beside its steps."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sagaworker.domain.options import (
    HIGHEST_PRIORITY,
    MAX_NAME,
    MAX_RECOVERIES,
    checked_integer,
    checked_queue,
    checked_text,
    checked_word,
)
from sagaworker.domain.steplist import StepEntry, parse
from sagaworker.domain.values import Json, canonical_hash
from sagaworker.errors import InvalidInput

POLICIES = ("restart", "compensate", "fail", "hold")
ON_FAILURE = ("continue", "halt")
MOST_STEPS = 1000


@dataclass(frozen=True, slots=True)
class Definition:
    """The steps and options with which sagas of a kind (of one actor, or of any) start, and their recovery policy.

    A module of an allowed step package exports definitions in a list `DEFINITIONS`. `version` is the hash of the step
    list: a run keeps its list and version from the start. A policy of None leaves the choice to the next in order.

    >>> Definition("greeting", ["steps.echo"], recovery_policy="restart").version
    '39eb1b126cea'
    """

    kind: str
    steps: Sequence[str | Mapping[str, Any]]
    actor: str | None = None
    recovery_policy: str | None = None
    max_recoveries: int | None = None
    on_compensation_failure: str | None = None
    queue: str | None = None
    priority: int | None = None

    @property
    def pair(self) -> tuple[str | None, str]:
        """The key by which a definition is found."""
        return self.actor, self.kind

    @property
    def entries(self) -> tuple[StepEntry, ...]:
        """The step list, of any length: `check` and each start bound the length.

        Raises:
            InvalidInput: it is not a step list.
        """
        return parse(self.steps, most=sys.maxsize)

    @property
    def frozen_steps(self) -> list[Json]:
        """The step list as the ledger keeps it."""
        return [entry.frozen for entry in self.entries]

    @property
    def version(self) -> str:
        """The first 12 digits of the hash of the step list."""
        return canonical_hash(self.frozen_steps)[:12]

    @property
    def options(self) -> dict[str, Json]:
        """The given start options other than recovery's. Options of a start override them."""
        given = {
            "on_compensation_failure": self.on_compensation_failure,
            "queue": self.queue,
            "priority": self.priority,
        }
        return {name: value for name, value in given.items() if value is not None}

    def check(self, *, most_steps: int = MOST_STEPS) -> None:
        """Refuse a definition with which no saga could start, by the rules of a start.

        Raises:
            InvalidInput: names the definition and the fault in it.
        """
        name = f"definition {self.kind!r:.80}"
        checked_text(self.kind, f"kind of {name}", MAX_NAME)
        if self.actor is not None:
            checked_text(self.actor, f"actor of {name}", MAX_NAME)
        if self.queue is not None:
            checked_queue(self.queue, f"queue of {name}")
        for what, word, legal in (
            ("recovery_policy", self.recovery_policy, POLICIES),
            ("on_compensation_failure", self.on_compensation_failure, ON_FAILURE),
        ):
            if word is not None:
                checked_word(word, f"{what} of {name}", legal)
        for what, number, most in (
            ("max_recoveries", self.max_recoveries, MAX_RECOVERIES),
            ("priority", self.priority, HIGHEST_PRIORITY),
        ):
            if number is not None:
                checked_integer(number, f"{what} of {name}", 0, most)
        try:
            parse(self.steps, most=most_steps)
        except InvalidInput as exc:
            raise InvalidInput(f"steps of {name} must be a list of steps, got: {exc.problem}", exc.remedy) from None
