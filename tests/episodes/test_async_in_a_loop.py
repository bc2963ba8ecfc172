"""`async def` steps under `engine.run`, called by code that runs in an event loop itself."""

import asyncio
import contextvars
from datetime import timedelta

import pytest

from sagaworker.catalog.step import step_of
from tests.episodes import steps
from tests.showing import timeline

S = "tests.episodes.steps:"
TENANT = contextvars.ContextVar("TENANT", default="nobody")


def step_with(execute):
    kind = type("Step", (), {"execute": staticmethod(execute)})
    return step_of(kind(), "tests.x:Step", timeout=timedelta(seconds=5))


@pytest.mark.parametrize("names", [["Async"], ["Async", "Works"], ["Async", "Declines"]])
def test_a_saga_of_async_steps_walks_and_is_undone_inside_a_running_loop(engine, names):
    run = engine.start("t", [S + name for name in names])

    async def within():
        return engine.run(run.id)

    found = asyncio.run(within())
    assert found.status == ("rolled_back" if "Declines" in names else "completed"), timeline(engine, run.id)
    assert engine.list_step_results(run.id)[0].output == {"async": True}
    assert ("async undo" in steps.EFFECTS) == ("Declines" in names)


def test_it_sees_the_callers_context_and_raises_what_it_raises():
    async def execute(_state):
        await asyncio.sleep(0)  # noqa: TID251 - it yields once
        raise LookupError(TENANT.get())

    async def within():
        TENANT.set("acme")
        step_with(execute).execute(None)

    with pytest.raises(LookupError, match="acme"):
        asyncio.run(within())


def test_what_interrupts_the_caller_cancels_it_and_waits_for_its_end(monkeypatch):
    from sagaworker.catalog import step

    ended = []

    class Interrupted(step.Future):
        def result(self, timeout=None):
            while not started:
                pass
            raise TimeoutError("the alarm")

    started = []

    async def execute(_state):
        started.append(True)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def within():
        step_with(execute).execute(None)

    monkeypatch.setattr(step, "Future", Interrupted)
    with pytest.raises(TimeoutError, match="the alarm"):
        asyncio.run(within())
    assert ended == [True]
