"""Steps on strings: what an attempt comes to is told by the test, through the puppet whose thread it runs in."""

from __future__ import annotations

from sagaworker import RetryPolicy
from tests.properties.world import strings


class Plain:
    """One attempt; a death is retried; an undo is tried twice."""

    COMPENSATE_RETRY = RetryPolicy(max_attempts=2, base=0.001)
    TOMBSTONE = False

    def execute(self, state):
        strings.puppet.execute(state, tombstone=self.TOMBSTONE)
        return state.put_output(f"did_{state.step_idx}", state.attempt)

    def compensate(self, state):
        strings.puppet.undo(state)


class Patient(Plain):
    RETRY = RetryPolicy(max_attempts=3, base=0.001)


class Parking(Plain):
    RETRY = RetryPolicy(max_attempts=2, base=60, jitter=False)


class Careful(Plain):
    IN_DOUBT = "compensate"


class Tombstoned(Plain):
    TOMBSTONE = True


class Asking(Plain):
    IN_DOUBT = "halt"
