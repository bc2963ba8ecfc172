"""The demo's error."""

from __future__ import annotations

from sagaworker.errors import SagaworkerError


class Wrong(SagaworkerError):
    """The demo cannot go on, or has found a promise broken."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return self.problem
