"""The errors a caller may branch on. Each says what is wrong with ids and values, and its remedy on a second line.

A sentence has one of two forms. Of a value: "NAME must be RULE, got VALUE". Of a state: "X cannot DO: REASON".
"""

from __future__ import annotations

from typing import Any


class SagaworkerError(Exception):
    """Base of every error raised by sagaworker.

    Errors cross process borders (Celery pickles them), so every field goes to `super().__init__` and the sentence is
    made in `__str__`.
    """


class InvalidInput(SagaworkerError, ValueError):
    r"""Refused at the edge: nothing was stored.

    >>> str(InvalidInput("inputs must be an object, got a list", "pass a mapping of names to values"))
    'inputs must be an object, got a list\npass a mapping of names to values'
    """

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(problem, remedy)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.problem}\n{self.remedy}" if self.remedy else self.problem


class InvalidSetting(InvalidInput):
    """A SAGAWORKER_ variable or keyword setting is unknown or has an illegal value."""


class UnknownStep(InvalidInput):
    """A step list names a module that is not allowed, not there, or not a step."""


class SagaNotFound(SagaworkerError, LookupError):
    """No saga run has this id."""

    def __init__(self, saga_id: str) -> None:
        super().__init__(saga_id)
        self.saga_id = saga_id

    def __str__(self) -> str:
        return f"saga {self.saga_id} cannot be found: no run has this id\nlist the runs with: sagaworker list"


class KeyConflict(SagaworkerError):
    """(kind, key) already names a saga that was started with other inputs."""

    def __init__(self, kind: str, key: str, saga_id: str, inputs_hash: str, existing_hash: str) -> None:
        super().__init__(kind, key, saga_id, inputs_hash, existing_hash)
        self.kind = kind
        self.key = key
        self.saga_id = saga_id
        self.inputs_hash = inputs_hash
        self.existing_hash = existing_hash

    def __str__(self) -> str:
        return (
            f"key {self.key!r} of kind {self.kind!r} cannot be used for other inputs: saga {self.saga_id} has it with inputs"
            f" {self.existing_hash[:12]}, these are {self.inputs_hash[:12]}\n"
            "use another key for another request, or the same inputs to get the existing saga"
        )


class Fenced(SagaworkerError):
    """The caller no longer holds the saga: another worker claimed it or it was taken over. Nothing was written."""

    def __init__(self, saga_id: str, fence: int) -> None:
        super().__init__(saga_id, fence)
        self.saga_id = saga_id
        self.fence = fence

    def __str__(self) -> str:
        return (
            f"saga {self.saga_id} cannot be written with fence {self.fence}: the ledger has a newer fence\n"
            "stop at once: another worker goes on from what the ledger holds"
        )


class StaleView(SagaworkerError):
    """An operator decided on an old view: the saga has moved since. Nothing was changed."""

    def __init__(self, saga_id: str, seen: int, current: int) -> None:
        super().__init__(saga_id, seen, current)
        self.saga_id = saga_id
        self.seen = seen
        self.current = current

    def __str__(self) -> str:
        return (
            f"saga {self.saga_id} cannot be moved by a decision at journal row {self.seen}: its journal is at {self.current}\n"
            f"look again and decide anew: sagaworker explain {self.saga_id}"
        )


class MoveRefused(SagaworkerError):
    """An operator's move does not apply to the saga as it is now. Nothing was changed."""

    def __init__(self, saga_id: str, move: str, rule: str, found: str) -> None:
        super().__init__(saga_id, move, rule, found)
        self.saga_id = saga_id
        self.move = move
        self.rule = rule
        self.found = found

    def __str__(self) -> str:
        return (
            f"{self.move} cannot move saga {self.saga_id}: it is {self.found}, and must {self.rule}\n"
            f"see what it waits for: sagaworker explain {self.saga_id}"
        )


class SchemaMismatch(SagaworkerError):
    """The database does not carry the tables this version needs."""

    def __init__(self, found: str | None, expected: str) -> None:
        super().__init__(found, expected)
        self.found = found
        self.expected = expected

    def __str__(self) -> str:
        return (
            f"the ledger cannot be used: it is at {self.found or 'no migration'}, and this version needs {self.expected}\n"
            "run: sagaworker migrate"
        )


class WaitTimeout(SagaworkerError, TimeoutError):
    """`wait` gave up before the saga was terminal; the saga itself goes on."""

    def __init__(self, saga_id: str, status: str, seconds: float) -> None:
        super().__init__(saga_id, status, seconds)
        self.saga_id = saga_id
        self.status = status
        self.seconds = seconds

    def __str__(self) -> str:
        return (
            f"saga {self.saga_id} is not over after {self.seconds:g} s: its status is {self.status}\n"
            "it goes on; wait again or see: sagaworker show " + self.saga_id
        )


class StepFailed(Exception):
    """Raised by a step that failed and certainly had no effect. Any other exception leaves the step in doubt.

    >>> StepFailed("card declined", code="declined").details
    {'code': 'declined'}
    """

    def __init__(self, message: str = "", **details: Any) -> None:
        super().__init__(message)
        self.details = details

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_step_failed, (self.args[0] if self.args else "", self.details)


def _rebuild_step_failed(message: str, details: dict[str, Any]) -> StepFailed:
    return StepFailed(message, **details)


class StepTimedOut(Exception):
    """Raised inside a step whose TIMEOUT has passed. The attempt is in doubt."""


class StepCancelled(Exception):
    """Raised by `state.check_cancelled()`: the saga was cancelled or this worker was fenced. The attempt is in doubt."""
