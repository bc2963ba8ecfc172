"""Steps for the runner's tests. What they did is noted in EFFECTS, outside the ledger."""

from __future__ import annotations

import dataclasses
import threading
from typing import ClassVar

import pydantic

from sagaworker import RetryPolicy, SagaState, StepFailed
from tests.waiting import wait_until

EFFECTS: list[str] = []


def _note(what: str, state: SagaState) -> None:
    EFFECTS.append(f"{what} {state.step_idx}")


class Works:
    """Notes that it ran; its undo notes what it knew."""

    def execute(self, state):
        _note("execute", state)
        return state.put_output(f"out_{state.step_idx}", state.attempt).put_output("last", state.step_idx)

    def compensate(self, state):
        EFFECTS.append(f"undo {state.step_idx} {state.outcome} last={state.get_output('last')}")


class Declines(Works):
    def execute(self, state):
        raise StepFailed("card declined", code=51)


class Raises(Works):
    def execute(self, state):
        _note("execute", state)
        raise RuntimeError("network gone")


class RaisesThenWorks(Works):
    RETRY = RetryPolicy(max_attempts=3, base=0.001)
    keys: ClassVar[list[str]] = []

    def execute(self, state):
        self.keys.append(state.idempotency_key)
        if state.attempt < 3:
            raise ConnectionError(f"attempt {state.attempt}")
        return super().execute(state)


class RaisesThenDeclines(Works):
    RETRY = RetryPolicy(max_attempts=3, base=0.001)

    def execute(self, state):
        if state.attempt == 1:
            raise ConnectionError("maybe it arrived")
        raise StepFailed("declined now")


class RaisesInBothTries(Raises):
    RETRY = RetryPolicy(max_attempts=2, base=0.001)

    def execute(self, state):
        if state.attempt > 8:
            raise StepFailed("it is tried for ever")
        super().execute(state)


class RaisesInBothTransactions(RaisesInBothTries):
    TRANSACTIONAL = True


class RetriesLater(Works):
    RETRY = RetryPolicy(max_attempts=2, base=60, jitter=False)

    def execute(self, state):
        if state.attempt == 1:
            raise ConnectionError("later")
        return super().execute(state)


class Leaves(Works):
    def execute(self, state):
        raise SystemExit(3)


class Hangs(Works):
    TIMEOUT = 0.2

    def execute(self, state):
        threading.Event().wait(30)


class ReturnsSeven(Works):
    def execute(self, state):
        return 7


class ReturnsNothing(Works):
    def execute(self, state):
        return None


class ReturnsAnothersState(Works):
    def execute(self, state):
        return SagaState(saga_id="x", step_idx=9, step_id="x", attempt=1, idempotency_key="x", fence=1)


class Unprintable(Works):
    def execute(self, state):
        class Odd(Exception):
            def __str__(self):
                raise ValueError("no text")

        raise Odd


class UglyMessage(Works):
    def execute(self, state):
        raise RuntimeError("nul \x00 surrogate \ud800 " + "x" * 5000)


class TooLarge(Works):
    def execute(self, state):
        return state.put_output("big", "x" * 2_000_000)


class Wordy(Works):
    def execute(self, state):
        return state.put_output(f"wordy_{state.step_idx}", "x" * 60)


class Async(Works):
    async def execute(self, state):
        return state.put_output("async", True)

    async def compensate(self, state):
        EFFECTS.append("async undo")


class NoUndo:
    def execute(self, state):
        return state


class UndoFails(Works):
    COMPENSATE_RETRY = RetryPolicy(max_attempts=2, base=0.001)

    def compensate(self, state):
        super().compensate(state)
        raise OSError("refund service is down")


class UndoReturns(Works):
    COMPENSATE_RETRY = RetryPolicy(max_attempts=1)

    def compensate(self, state):
        return state


class SkipsDoubt(Raises):
    COMPENSATE_WHEN = "completed"


class UsesParams(Works):
    NAME = "with_params"

    def execute(self, state):
        return state.put_output("seen", dict(state.params)).put_output("id", state.step_id)


class Calls(Works):
    """Calls back into the test in the middle of execute."""

    hook = None

    def execute(self, state):
        type(self).hook(state)
        return super().execute(state)


class Notes(Works):
    def execute(self, state):
        EFFECTS.append(f"checkpoint {state.checkpoint}")
        type(self).hook(state)
        return super().execute(state)


class ChecksCancelled(Works):
    hook = None

    def execute(self, state):
        type(self).hook(state)
        wait_until(state.check_cancelled, every=0.01)


class Transacts(Works):
    """Notes in a table of its own, in the transaction that records it."""

    TRANSACTIONAL = True
    TIMEOUT = 60
    hook = None

    def execute(self, state):
        state.connection.execute(
            "INSERT INTO effects (saga_id, attempt) VALUES (%s, %s)", (state.saga_id, state.attempt)
        )
        if type(self).hook:
            type(self).hook(state)
        return super().execute(state)


class AsksNobody(Works):
    """Waits for an operator when its worker died in it."""

    IN_DOUBT = "halt"
    hook = None

    def execute(self, state):
        if type(self).hook:
            type(self).hook(state)
        return super().execute(state)


class Probes(AsksNobody):
    """Answers what the test says."""

    IN_DOUBT = "probe"
    answer = None

    def probe(self, state):
        EFFECTS.append(f"probe {state.step_idx} attempt {state.attempt}")
        return type(self).answer(state)


class UndoFailsUntilRepaired(Works):
    COMPENSATE_RETRY = RetryPolicy(max_attempts=2, base=0.001)
    is_broken = True

    def compensate(self, state):
        if type(self).is_broken:
            raise OSError("refund service is down")
        super().compensate(state)


class UndoCalls(Works):
    """Calls back into the test in the middle of its undo, which fails for good where that raises."""

    COMPENSATE_RETRY = RetryPolicy(max_attempts=1)
    hook = None

    def compensate(self, state):
        type(self).hook(state)
        super().compensate(state)


class TransactsInTwoTries(Transacts):
    RETRY = RetryPolicy(max_attempts=2, base=0.001)


class TakesADataclass(Works):
    @dataclasses.dataclass
    class Inputs:
        card: str
        cents: int = 0

        def __post_init__(self):
            if not self.card.startswith("tok_"):
                raise ValueError("card must be a token")


class TakesAModel(Works):
    class Inputs(pydantic.BaseModel):
        card: str = pydantic.Field(pattern="^tok_")
        cents: int = 0
