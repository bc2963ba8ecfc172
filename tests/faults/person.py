"""The person of a case: looks at the saga, at the world, and says what must be done. Tells the truth, acts on what it sees."""

from __future__ import annotations

from chaos.world import World, has_happened
from sagaworker.domain.records import Timeline
from sagaworker.domain.status import RunStatus, WaitingFor
from sagaworker.engine import Engine
from tests.faults.cases import Case

WHY = "the case says so"


def act(engine: Engine, saga_id: str, case: Case) -> bool:
    """Do what the saga waits for, if it waits for a person; whether there is anything left to wait for."""
    timeline = engine.timeline(saga_id)
    run = timeline.run
    if run.status is RunStatus.FAILED and case.story == "given_up":
        engine.retry(saga_id, reason=WHY, who="ann", undo=case.ending == "fails")
    elif run.waiting_for is WaitingFor.HOLD:
        engine.release(saga_id, reason=WHY, who="ann")
    elif run.waiting_for is WaitingFor.OPERATOR and run.status is RunStatus.COMPENSATING:
        _of_an_undo(engine, timeline)
    elif run.waiting_for is WaitingFor.OPERATOR:
        _of_a_doubt(engine, timeline, case)
    return not engine.get(saga_id).status.is_terminal


def _of_an_undo(engine: Engine, timeline: Timeline) -> None:
    run = timeline.run
    if not _has(timeline, "operator.retried"):
        engine.retry(run.id, reason=WHY, who="ann")
        return
    if has_happened(run.id, run.current_step_idx):
        for what in ("undoing", "undid"):
            World(run.id).note(what, run.current_step_idx, 1, run.fence)
    engine.skip(run.id, reason=WHY, who="ann")


def _of_a_doubt(engine: Engine, timeline: Timeline, case: Case) -> None:
    run = timeline.run
    happened = has_happened(run.id, run.current_step_idx)
    if case.story == "person" and not _has(timeline, "operator.retried"):
        engine.retry(run.id, reason=WHY, who="ann")
    elif case.story == "skipper" and not happened:
        engine.skip(run.id, reason=WHY, who="ann")
    else:
        engine.resolve(run.id, happened=happened, outputs={}, reason=WHY, who="ann")


def _has(timeline: Timeline, kind: str) -> bool:
    return any(entry.type == kind for entry in timeline.journal)
