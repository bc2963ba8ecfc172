"""Suspension, its end, and offboarding: what is taken back, what cannot be, and who may."""

from __future__ import annotations

import threading

import psycopg
import pytest

from sagaworker import StepFailed
from steps.tenants import OFFBOARD, PROVISION, RESUME, SUSPEND
from tests.tenants.sagas import NOTHING, Saga, provisioned
from tests.tenants.target import Target
from tests.tenants.test_provision import log_in

CLOSE, ARCHIVE, DROP_DATABASE, DROP_ROLE = OFFBOARD
(SUSPENDED,) = SUSPEND
(RESUMED,) = RESUME


def may_log_in(target: Target) -> bool:
    try:
        log_in(target, "acme").close()
    except psycopg.OperationalError as refused:
        assert "is not permitted to log in" in str(refused)
        return False
    return True


def test_suspended_tenant_is_thrown_out_and_kept_out_until_resumed(target: Target) -> None:
    provisioned("acme")
    with log_in(target, "acme") as session:
        session.execute("CREATE TABLE kept ()")
        Saga("acme").execute(SUSPENDED)
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    assert not may_log_in(target)
    Saga("acme").execute(RESUMED)
    with log_in(target, "acme") as session:
        session.execute("TABLE kept")


def test_undo_of_a_suspension_opens_only_what_this_saga_closed(target: Target) -> None:
    provisioned("acme")
    first, second = Saga("acme"), Saga("acme")
    first.execute(SUSPENDED)
    assert second.execute(SUSPENDED) == {"tenant_suspended_by": first.saga_id}
    second.compensate(SUSPENDED)
    assert not may_log_in(target)
    first.compensate(SUSPENDED, "unknown")
    assert may_log_in(target)
    first.compensate(SUSPENDED)


def test_suspension_by_hand_is_not_undone_by_a_rollback(target: Target) -> None:
    provisioned("acme")
    with target.connect() as admin:
        admin.execute("ALTER ROLE tenant_acme NOLOGIN")
    for steps in (SUSPEND, (CLOSE,)):
        Saga("acme").walk(steps).undo(steps)
        assert not may_log_in(target)
    Saga("acme").execute(RESUMED)
    assert may_log_in(target)


def test_undo_of_a_resumption_suspends_again_in_the_name_of_who_had(target: Target) -> None:
    provisioned("acme")
    suspension, resumption = Saga("acme").walk(SUSPEND), Saga("acme").walk(RESUME)
    with log_in(target, "acme") as session:
        resumption.compensate(RESUMED)
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    assert not may_log_in(target)
    resumption.compensate(RESUMED, "unknown")
    suspension.compensate(SUSPENDED)
    assert may_log_in(target)


def test_resumption_of_a_tenant_that_is_not_suspended_does_nothing_and_its_undo_neither(target: Target) -> None:
    provisioned("acme")
    saga = Saga("acme").walk(RESUME)
    saga.undo(RESUME)
    assert may_log_in(target)


def test_offboarded_tenant_is_gone_and_its_name_free(target: Target) -> None:
    provisioned("acme")
    saga = Saga("acme").walk(OFFBOARD)
    assert target.world("acme") == NOTHING
    assert saga.outputs["tenant_database_dropped"] == "attic_tenant_acme"
    provisioned("acme")
    assert may_log_in(target)


def test_suspended_tenant_can_be_offboarded_and_stays_suspended_when_that_is_rolled_back(target: Target) -> None:
    provisioned("acme")
    Saga("acme").walk(SUSPEND)
    Saga("acme").walk(OFFBOARD[:2]).undo(OFFBOARD[:2])
    assert not may_log_in(target)
    Saga("acme").walk(OFFBOARD)
    assert target.world("acme") == NOTHING


@pytest.mark.parametrize("done", range(3))
def test_offboarding_rolled_back_before_the_drop_gives_everything_back(done: int, target: Target) -> None:
    provisioned("acme")
    with log_in(target, "acme") as session:
        session.execute("CREATE TABLE kept ()")
    seen = target.world("acme")
    saga = Saga("acme").walk(OFFBOARD[:done])
    saga.undo(OFFBOARD[: done + 1], "unknown")
    assert target.world("acme") == seen
    with log_in(target, "acme") as session:
        session.execute("TABLE kept")


def test_every_offboarding_step_done_twice_leaves_what_doing_it_once_leaves(target: Target) -> None:
    provisioned("acme")
    saga = Saga("acme")
    for step in OFFBOARD:
        saga.execute(step)
        seen = target.world("acme")
        saga.execute(step)
        assert target.world("acme") == seen


def test_undo_of_a_drop_says_that_there_is_none(target: Target) -> None:
    provisioned("acme")
    saga = Saga("acme").walk(OFFBOARD[:3])
    with pytest.raises(StepFailed, match="database attic_tenant_acme must be there to be given back"):
        saga.compensate(DROP_DATABASE)
    saga.compensate(ARCHIVE)
    saga.compensate(CLOSE)
    assert not may_log_in(target), "a tenant without its database stays suspended"
    Saga("acme").walk(OFFBOARD)
    assert target.world("acme") == NOTHING
    with pytest.raises(StepFailed, match="role tenant_acme must be there to be given back"):
        saga.compensate(DROP_ROLE)


def test_late_drops_of_an_old_offboarding_do_not_touch_a_new_tenant_of_that_name(target: Target) -> None:
    provisioned("acme")
    old = Saga("acme").walk(OFFBOARD)
    provisioned("acme")
    seen = target.world("acme")
    old.walk(OFFBOARD[1:])
    old.undo(OFFBOARD[:2], "unknown")
    assert target.world("acme") == seen
    with pytest.raises(StepFailed, match="must have been closed by saga"):
        Saga("acme").execute(DROP_ROLE)
    assert target.world("acme") == seen


@pytest.mark.parametrize("step", OFFBOARD[1:])
def test_offboarding_that_was_taken_back_cannot_go_on(step: str, target: Target) -> None:
    provisioned("acme")
    saga = Saga("acme").walk([CLOSE])
    saga.compensate(CLOSE)
    seen = target.world("acme")
    with pytest.raises(StepFailed, match="tenant acme must have been closed by saga"):
        saga.execute(step)
    assert target.world("acme") == seen


def test_of_two_offboardings_one_goes_on_and_the_others_rollback_harms_it_not(target: Target) -> None:
    provisioned("acme")
    racers = [Saga("acme"), Saga("acme")]
    barrier = threading.Barrier(2, timeout=60)
    lost = []

    def run(saga: Saga) -> None:
        barrier.wait()
        try:
            saga.execute(CLOSE)
        except StepFailed as refused:
            assert "must not be leaving" in str(refused)
            lost.append(saga)

    threads = [threading.Thread(target=run, args=[saga]) for saga in racers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(lost) == 1
    seen = target.world("acme")
    lost[0].undo(OFFBOARD[:2], "unknown")
    assert target.world("acme") == seen
    for steps in (SUSPEND, RESUME):
        with pytest.raises(StepFailed, match="must not be leaving"):
            Saga("acme").walk(steps)
    (winner,) = (saga for saga in racers if saga not in lost)
    winner.walk(OFFBOARD[1:])
    assert target.world("acme") == NOTHING


def test_suspension_undone_while_the_tenant_is_leaving_does_not_open_it(target: Target) -> None:
    provisioned("acme")
    suspension = Saga("acme").walk(SUSPEND)
    leaving = Saga("acme").walk([CLOSE])
    suspension.compensate(SUSPENDED)
    assert not may_log_in(target)
    leaving.compensate(CLOSE)
    assert may_log_in(target)


def test_provisioning_undone_while_the_tenant_is_leaving_removes_it_from_the_attic_too(target: Target) -> None:
    provision = provisioned("acme")
    leaving = Saga("acme").walk(OFFBOARD[:2])
    provision.undo(PROVISION)
    assert target.world("acme") == NOTHING
    leaving.walk(OFFBOARD[2:])
    leaving.undo(OFFBOARD[:2])
    assert target.world("acme") == NOTHING


@pytest.mark.parametrize("step", (SUSPENDED, RESUMED, CLOSE))
def test_tenant_that_is_not_ready_or_not_there_is_refused(step: str, target: Target) -> None:
    with pytest.raises(StepFailed, match="tenant acme must have been provisioned, got none"):
        Saga("acme").execute(step)
    Saga("acme").walk(PROVISION[:3])
    seen = target.world("acme")
    with pytest.raises(StepFailed, match="tenant acme must be ready"):
        Saga("acme").execute(step)
    assert target.world("acme") == seen


@pytest.mark.parametrize("tie", ["CREATE TABLE theirs ()", "CREATE TABLE ours (); GRANT SELECT ON ours TO tenant_acme"])
def test_role_with_ties_elsewhere_is_refused_before_anything_is_done(tie: str, target: Target) -> None:
    provisioned("acme")
    with target.connect() as admin:
        admin.execute("CREATE SCHEMA tied")
        admin.execute("SET search_path = tied")
        admin.execute(tie)
        admin.execute("ALTER TABLE IF EXISTS theirs OWNER TO tenant_acme")
        seen = target.world("acme")
        with pytest.raises(StepFailed, match="must own and be granted nothing outside its database, got some in admin"):
            Saga("acme").execute(CLOSE)
        assert target.world("acme") == seen
        admin.execute("DROP SCHEMA tied CASCADE")
    Saga("acme").walk(OFFBOARD)


def test_role_tied_after_its_database_was_dropped_fails_with_the_reason(target: Target) -> None:
    provisioned("acme")
    saga = Saga("acme").walk(OFFBOARD[:3])
    with target.connect() as admin:
        admin.execute("CREATE TABLE late ()")
        admin.execute("ALTER TABLE late OWNER TO tenant_acme")
        with pytest.raises(StepFailed, match=r"must own and be granted nothing when it is dropped, got: .+"):
            saga.execute(DROP_ROLE)
        saga.compensate(DROP_ROLE, "unknown")
        admin.execute("DROP TABLE late")
    saga.execute(DROP_ROLE)
    assert target.world("acme") == NOTHING


def test_database_in_the_way_of_the_attic_is_not_touched(target: Target) -> None:
    provisioned("acme")
    with target.connect() as admin:
        admin.execute("CREATE DATABASE attic_tenant_acme TEMPLATE template0")
    saga = Saga("acme").walk([CLOSE])
    seen = target.world("acme")
    with pytest.raises(StepFailed, match="database attic_tenant_acme must not exist"):
        saga.execute(ARCHIVE)
    with pytest.raises(StepFailed, match="must be archived before it is dropped"):
        saga.execute(DROP_DATABASE)
    saga.compensate(ARCHIVE, "unknown")
    assert target.world("acme") == seen


def test_database_in_use_by_others_is_archived_all_the_same(target: Target) -> None:
    provisioned("acme")
    saga = Saga("acme").walk([CLOSE])
    with target.connect(dbname="tenant_acme") as visitor:
        saga.execute(ARCHIVE)
        with pytest.raises(psycopg.OperationalError):
            visitor.execute("SELECT 1")
    with target.connect(dbname="attic_tenant_acme"):
        saga.execute(DROP_DATABASE)
