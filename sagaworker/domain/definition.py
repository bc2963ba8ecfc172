"""Definitions: what a kind of saga is, declared in code beside its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sagaworker.domain.steplist import StepEntry, parse
from sagaworker.domain.values import Json, canonical_hash
from sagaworker.errors import InvalidInput

POLICIES = ("restart", "compensate", "fail", "hold")
ON_FAILURE = ("continue", "halt")
MOST_STEPS = 1000


@dataclass(frozen=True, slots=True)
class Definition:
    """What sagas of a kind (of one actor, or of any) are started with, and how they are recovered.

    A module of an allowed step package exports them in a list `DEFINITIONS`. `version` is the hash of the step list: a
    run keeps the list and the version it was started with. A policy of None leaves the choice to the next in order.

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
        """What it is found by."""
        return self.actor, self.kind

    @property
    def entries(self) -> tuple[StepEntry, ...]:
        """The checked step list.

        Raises:
            InvalidInput: it is not one.
        """
        return parse(self.steps, most=MOST_STEPS)

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
        """Start options other than recovery's, as far as they are given; those of a start win over them."""
        given = {
            "on_compensation_failure": self.on_compensation_failure,
            "queue": self.queue,
            "priority": self.priority,
        }
        return {name: value for name, value in given.items() if value is not None}

    def check(self) -> None:
        """Refuse what no saga could be started with.

        Raises:
            InvalidInput: with the definition's name and what is wrong in it.
        """
        name = f"definition {self.kind!r}"
        for what, value in (("kind", self.kind), ("actor", self.actor)):
            if not (isinstance(value, str) and value.isprintable() and 1 <= len(value) <= 200) and (  # noqa: PLR2004
                what == "kind" or value is not None
            ):
                raise InvalidInput(f"{what} of {name} must be 1 to 200 printable characters, got {ascii(value)[:80]}")
        if self.recovery_policy not in (None, *POLICIES):
            legal = ", ".join(POLICIES)
            raise InvalidInput(f"recovery_policy of {name} must be one of {legal}, got {self.recovery_policy!r:.80}")
        if self.on_compensation_failure not in (None, *ON_FAILURE):
            raise InvalidInput(
                f"on_compensation_failure of {name} must be continue or halt, got {self.on_compensation_failure!r:.80}"
            )
        for what, number in (("max_recoveries", self.max_recoveries), ("priority", self.priority)):
            if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 0):
                raise InvalidInput(f"{what} of {name} must be a whole number of at least 0, got {number!r:.80}")
        try:
            _ = self.entries
        except InvalidInput as exc:
            raise InvalidInput(f"steps of {name} must be a list of steps, got: {exc.problem}", exc.remedy) from None
