"""Recovery, pure: which sagas a sweep covers, and which policy decides over an orphan."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from sagaworker.domain.definition import POLICIES
from sagaworker.domain.records import SweepResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which sagas are covered: of this stack or without a stack (None: of any stack), and of exactly this environment."""

    source_stack: str | None = None
    source_env: str | None = None

    @property
    def name(self) -> str:
        """The name of the scope; sweeps of the same name take turns."""
        return "sweep " + json.dumps([self.source_stack, self.source_env])

    @property
    def parameters(self) -> dict[str, str | None]:
        return {"source_stack": self.source_stack, "source_env": self.source_env}


def legal_policy(answer: object) -> str | None:
    """The answer, if it is a policy."""
    return answer if isinstance(answer, str) and answer in POLICIES else None


def decided_policy(asked: str | None, registered: str | None, stored: str | None, recorded: str | None) -> str:
    """The first policy given: the callback's, the registered definition's, the database's, the run's own, else fail."""
    return next((policy for policy in (asked, registered, stored, recorded) if policy is not None), "fail")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoverResult:
    """The result of one `recover`. `problems` has a sentence for each part that failed; the other parts were done."""

    definitions: int = 0
    mismatched: int = 0
    sweep: SweepResult = field(default_factory=SweepResult)
    problems: tuple[str, ...] = ()

    @property
    def counts(self) -> Mapping[str, int]:
        """The result as plain numbers, for a task's result."""
        swept = {name: getattr(self.sweep, name) for name in self.sweep.__slots__}
        return {
            "definitions": self.definitions,
            "mismatched": self.mismatched,
            "problems": len(self.problems),
            **swept,
        }
