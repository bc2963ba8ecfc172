"""kill -9 at every exchange with the server, in every execute and every compensate."""

from __future__ import annotations

from itertools import count

import pytest
from psycopg import sql

from sagaworker import StepFailed
from steps.tenants import OFFBOARD, PROVISION, RESUME, SUSPEND
from steps.tenants._server import Mark
from tests.tenants.killed import Killer
from tests.tenants.sagas import NOTHING, Saga, member, provisioned
from tests.tenants.target import Target

REVERSIBLE = (*PROVISION, *SUSPEND, *RESUME, *OFFBOARD[:2])


def before(step: str, tenant: str) -> Saga:
    """A saga that has walked its list up to this step."""
    if step in PROVISION:
        return Saga(tenant).walk(PROVISION[: PROVISION.index(step)])
    provisioned(tenant)
    if step in RESUME:
        Saga(tenant).walk(SUSPEND)
    return Saga(tenant).walk(OFFBOARD[: OFFBOARD.index(step)] if step in OFFBOARD else ())


@pytest.mark.parametrize("step", REVERSIBLE)
def test_execute_killed_anywhere_is_done_by_the_next_attempt_and_taken_back_by_its_undo(
    step: str, target: Target, deadly: Killer
) -> None:
    saga = before(step, "acme")
    absent = target.world("acme")
    saga.execute(step)
    done = target.world("acme")
    takes_back = member(step, "compensate") is not None
    for point in count():
        if takes_back:
            saga.compensate(step)
            assert target.world("acme") == absent
            killed = deadly.run(saga, step, point)
            saga.compensate(step, "unknown")
            assert target.world("acme") == absent, f"undone after a kill at point {point}"
        killed = deadly.run(saga, step, point)
        saga.execute(step)
        assert target.world("acme") == done, f"done again after a kill at point {point}"
        if not killed:
            break
    assert point >= 6, "a step that was never killed proves nothing"


@pytest.mark.parametrize("step", [step for step in REVERSIBLE if member(step, "compensate")])
def test_compensate_killed_anywhere_is_completed_by_the_next_attempt(step: str, target: Target, deadly: Killer) -> None:
    saga = before(step, "acme")
    absent = target.world("acme")
    for point in count():
        saga.execute(step)
        killed = deadly.run(saga, step, point, undo="completed")
        saga.compensate(step)
        assert target.world("acme") == absent, f"undone after a kill of the undo at point {point}"
        if not killed:
            break
    assert point >= 6, "an undo that was never killed proves nothing"


@pytest.mark.parametrize("step", OFFBOARD[2:])
def test_drop_killed_anywhere_is_completed_by_the_next_attempt(step: str, target: Target, deadly: Killer) -> None:
    for point in count():
        saga = leaving("acme", target, database=step == OFFBOARD[2])
        killed = deadly.run(saga, step, point)
        saga.execute(step)
        saga.execute(OFFBOARD[3])
        assert target.world("acme") == NOTHING
        if not killed:
            break
    assert point >= 6


@pytest.mark.parametrize("step", OFFBOARD[2:])
def test_undo_of_a_killed_drop_succeeds_exactly_when_nothing_was_dropped(
    step: str, target: Target, deadly: Killer
) -> None:
    outcomes = set()
    for point in count():
        saga = leaving("acme", target, database=step == OFFBOARD[2])
        there = target.world("acme")
        killed = deadly.run(saga, step, point)
        try:
            saga.compensate(step, "unknown")
        except StepFailed:
            assert target.world("acme") != there
            outcomes.add("lost")
        else:
            assert target.world("acme") == there
            outcomes.add("kept")
        saga.execute(step)
        saga.execute(OFFBOARD[3])
        if not killed:
            break
    assert outcomes == {"kept", "lost"}


def leaving(tenant: str, target: Target, *, database: bool) -> Saga:
    """A tenant that a saga has closed and archived; made by hand, which is quicker than by the steps."""
    saga = Saga(tenant, outputs={"tenant_made_by": "another", "tenant_archive": f"attic_tenant_{tenant}"})
    mark = Mark(tenant=tenant, made_by="another", by=saga.saga_id, fence=1, ready=True, leaving_by=saga.saga_id)
    role, attic = sql.Identifier(f"tenant_{tenant}"), sql.Identifier(f"attic_tenant_{tenant}")
    with target.connect() as admin:
        admin.execute(sql.SQL("CREATE ROLE {}").format(role))
        admin.execute(sql.SQL("COMMENT ON ROLE {} IS {}").format(role, sql.Literal(mark.text())))
        if database:
            admin.execute(sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0").format(attic, role))
    return saga
