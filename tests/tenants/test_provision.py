"""Provisioning and its undo: done twice, done half, not done at all, and things that belong to others."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from sagaworker import SagaState, StepFailed
from steps.tenants import OFFBOARD, PROVISION, RESUME, SUSPEND, create_role, password_for
from steps.tenants._server import locked
from tests.tenants.sagas import NOTHING, Saga, provisioned
from tests.tenants.target import Target
from tests.waiting import PATIENCE, wait_until

CREATE_ROLE, CREATE_DATABASE, CREATE_SCHEMA, VERIFY_LOGIN = PROVISION


def log_in(target: Target, tenant: str, *, database: str | None = None, rotation: int = 1) -> psycopg.Connection[Any]:
    return psycopg.connect(
        target.url, user=f"tenant_{tenant}", dbname=database or f"tenant_{tenant}", autocommit=True,
        password=password_for(tenant, rotation),
    )  # fmt: skip


def test_provisioned_tenant_logs_in_and_works_in_its_own_schema(target: Target) -> None:
    saga = provisioned("acme")
    with log_in(target, "acme") as tenant:
        tenant.execute("CREATE TABLE orders (id int)")
        tenant.execute("INSERT INTO orders VALUES (1)")
        assert tenant.execute("SELECT id FROM tenant_acme.orders").fetchall() == [(1,)]
    names = dict.fromkeys(("tenant_role", "tenant_database", "tenant_schema"), "tenant_acme")
    assert saga.outputs == {**names, "tenant_ready": True}


def test_tenant_cannot_enter_the_database_of_another(target: Target) -> None:
    provisioned("acme")
    provisioned("globex")
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        log_in(target, "globex", database="tenant_acme")


def test_tenant_role_has_no_power_on_the_server(target: Target) -> None:
    provisioned("acme")
    with target.connect() as admin:
        powers = admin.execute(
            "SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls FROM pg_roles"
            " WHERE rolname = 'tenant_acme'"
        ).fetchone()
    assert powers == (False,) * 5


def test_every_step_done_twice_leaves_what_doing_it_once_leaves(target: Target) -> None:
    once = Saga("acme", saga_id="same").walk(PROVISION)
    seen = target.world("acme")
    again = Saga("acme", saga_id="same", fences=once.fences)
    for step in PROVISION:
        again.execute(step)
        again.execute(step)
    assert target.world("acme") == seen
    assert again.outputs == once.outputs


@pytest.mark.parametrize("done", range(5))
def test_undoing_every_step_leaves_nothing_however_far_the_saga_came(done: int, target: Target) -> None:
    saga = Saga("acme").walk(PROVISION[:done])
    saga.undo(PROVISION, "completed" if done % 2 else "unknown")
    assert target.world("acme") == NOTHING
    saga.undo(PROVISION)


def test_undo_removes_a_tenant_somebody_is_logged_in_as(target: Target) -> None:
    saga = provisioned("acme")
    with log_in(target, "acme") as inside, log_in(target, "acme", database="admin") as beside:
        saga.undo(PROVISION)
        for session in (inside, beside):
            with pytest.raises(psycopg.OperationalError):
                session.execute("SELECT 1")
    assert target.world("acme") == NOTHING


@pytest.mark.parametrize("comment", [None, "billing", 'sagaworker tenant {"tenant": "acme"}', "sagaworker tenant {"])
def test_role_of_somebody_else_is_refused_and_never_dropped(comment: str | None, target: Target) -> None:
    with target.connect() as admin:
        admin.execute("CREATE ROLE tenant_acme")
        admin.execute(sql.SQL("COMMENT ON ROLE tenant_acme IS {}").format(sql.Literal(comment)))
    seen = target.world("acme")
    saga = Saga("acme")
    with pytest.raises(StepFailed, match="role tenant_acme must not exist"):
        saga.execute(CREATE_ROLE)
    for step in PROVISION[1:]:
        with pytest.raises(StepFailed, match="role tenant_acme must have been made by saga"):
            saga.execute(step)
    for step in (*SUSPEND, *RESUME, OFFBOARD[0]):
        with pytest.raises(StepFailed, match="that sagaworker did not make"):
            Saga("acme").execute(step)
    saga.undo(PROVISION, "unknown")
    Saga("acme").undo((*SUSPEND, *RESUME, *OFFBOARD[:2]), "unknown")
    assert target.world("acme") == seen


def test_database_of_somebody_else_is_refused_and_never_dropped(target: Target) -> None:
    with target.connect() as admin:
        admin.execute("CREATE DATABASE tenant_acme TEMPLATE template0")
    seen = target.world("acme")
    saga = Saga("acme").walk([CREATE_ROLE])
    with pytest.raises(StepFailed, match="database tenant_acme must not exist"):
        saga.execute(CREATE_DATABASE)
    with pytest.raises(StepFailed, match="database tenant_acme must exist and be owned by role"):
        saga.execute(CREATE_SCHEMA)
    saga.undo(PROVISION, "unknown")
    assert target.world("acme") == seen


def test_undo_does_not_drop_what_somebody_gave_to_the_tenant_under_another_name(target: Target) -> None:
    saga = Saga("acme").walk([CREATE_ROLE])
    with target.connect() as admin:
        admin.execute("CREATE DATABASE reports OWNER tenant_acme TEMPLATE template0")
        saga.compensate(CREATE_DATABASE, "unknown")
        with pytest.raises(psycopg.errors.DependentObjectsStillExist):
            saga.compensate(CREATE_ROLE)
        admin.execute("DROP DATABASE reports")
    saga.compensate(CREATE_ROLE)
    assert target.world("acme") == NOTHING


@pytest.mark.parametrize("_round", range(3))
def test_of_sagas_racing_for_one_name_one_wins_and_the_losers_undo_harms_it_not(_round: int, target: Target) -> None:
    racers = [Saga("acme") for _ in range(4)]
    barrier = threading.Barrier(len(racers), timeout=PATIENCE)
    lost: list[Saga] = []

    def run(saga: Saga) -> None:
        barrier.wait()
        try:
            saga.walk(PROVISION)
        except StepFailed:
            saga.undo(PROVISION, "unknown")
            lost.append(saga)

    threads = [threading.Thread(target=run, args=[saga]) for saga in racers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    winners = [saga for saga in racers if saga not in lost]
    assert len(winners) == 1
    assert winners[0].outputs["tenant_ready"]
    log_in(target, "acme").close()
    for saga in lost:
        saga.undo(PROVISION, "unknown")
    winners[0].undo(PROVISION)
    assert target.world("acme") == NOTHING


def test_name_is_free_again_after_a_rollback(target: Target) -> None:
    Saga("acme").walk(PROVISION[:3]).undo(PROVISION[:3])
    provisioned("acme")
    log_in(target, "acme").close()


def test_database_whose_drop_was_interrupted_is_made_anew(target: Target) -> None:
    saga = Saga("acme").walk(PROVISION[:2])
    with target.connect() as admin:
        admin.execute("UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'tenant_acme'")
    saga.compensate(CREATE_SCHEMA, "unknown")
    saga.walk(PROVISION[1:])
    log_in(target, "acme").close()


def test_undo_drops_a_database_whose_drop_was_interrupted(target: Target) -> None:
    saga = Saga("acme").walk(PROVISION)
    with target.connect() as admin:
        admin.execute("UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'tenant_acme'")
    saga.undo(PROVISION)
    assert target.world("acme") == NOTHING


@pytest.mark.parametrize("step", PROVISION)
def test_earlier_episode_is_refused_after_a_later_one_was_there(step: str, target: Target) -> None:
    saga = Saga("acme").walk(PROVISION)
    saga.execute(step, fence=100)
    seen = target.world("acme")
    with pytest.raises(StepFailed, match=r"fence 99 of saga .* must be its latest"):
        saga.execute(step, fence=99)
    assert target.world("acme") == seen


@pytest.mark.parametrize("step", (*PROVISION, *SUSPEND, *RESUME, *OFFBOARD))
def test_attempt_that_begins_after_its_deadline_does_nothing(step: str, target: Target) -> None:
    saga = Saga("acme")
    with pytest.raises(StepFailed, match="must act before"):
        saga.execute(step, deadline=datetime.now(UTC) - timedelta(seconds=1))
    assert target.world("acme") == NOTHING


def test_attempt_before_its_deadline_acts(target: Target) -> None:
    Saga("acme").execute(CREATE_ROLE, deadline=datetime.now(UTC) + timedelta(seconds=30))
    assert target.world("acme") != NOTHING


def is_waiting(target: Target) -> bool:
    """Whether somebody waits for a lock on the target server."""
    waiting = target.admin.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'").fetchone()
    return waiting != (0,)


def test_one_session_at_a_time_works_on_a_tenant(target: Target) -> None:
    saga, order = Saga("acme"), []

    def work() -> None:
        saga.execute(CREATE_ROLE)
        order.append("step")

    with locked(any_state(saga)):
        other = threading.Thread(target=work, daemon=True)
        other.start()
        wait_until(lambda: is_waiting(target) or not other.is_alive(), what="the step at the lock")
        order.append("released")
    other.join(timeout=PATIENCE)
    assert order == ["released", "step"]


@pytest.mark.usefixtures("target")
def test_server_ends_the_session_of_a_worker_that_is_paused_before_its_undo_may_begin() -> None:
    with locked(any_state(Saga("acme"))) as server:
        for setting in ("idle_session_timeout", "idle_in_transaction_session_timeout"):
            shown = server.connection.execute(sql.SQL("SHOW {}").format(sql.Identifier(setting))).fetchone()
            assert shown == ("8s",), "must stay below SAGAWORKER_STEP_GRACE, 10 s"


def test_login_is_really_tried_so_a_wrong_password_fails_the_saga(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    saga = Saga("acme").walk(PROVISION[:3])
    monkeypatch.setenv("TENANT_SECRET", "another secret of good length")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        saga.execute(VERIFY_LOGIN)
    assert not target.world("acme").roles[0][4], "it must not be marked ready"


def test_schema_the_tenant_cannot_write_to_fails_the_saga(target: Target) -> None:
    saga = Saga("acme").walk(PROVISION[:3])
    with target.connect(dbname="tenant_acme") as admin:
        admin.execute("ALTER SCHEMA tenant_acme OWNER TO CURRENT_USER")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        saga.execute(VERIFY_LOGIN)


def test_server_that_asks_no_password_fails_the_saga(target: Target) -> None:
    saga = Saga("open").walk(PROVISION[:3])
    with target.connect() as admin:
        rules = Path(admin.execute("SHOW hba_file").fetchall()[0][0])
        before = rules.read_text()
        try:
            rules.write_text(f"host all tenant_open 127.0.0.1/32 trust\n{before}")
            admin.execute("SELECT pg_reload_conf()")
            with pytest.raises(StepFailed, match="must ask role tenant_open for its password"):
                until_trusted(saga)
        finally:
            rules.write_text(before)
            admin.execute("SELECT pg_reload_conf()")


def until_trusted(saga: Saga) -> None:
    """The server reads its rules again soon after it was told to, not at once."""
    for _ in range(200):
        saga.execute(VERIFY_LOGIN)


def test_another_rotation_is_another_password(target: Target) -> None:
    Saga("acme", rotation=2).walk(PROVISION)
    log_in(target, "acme", rotation=2).close()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        log_in(target, "acme", rotation=1)


def test_unreachable_server_may_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTS_DATABASE_URL", "postgresql://admin:hidden-word@127.0.0.1:1/admin")
    monkeypatch.setenv("TENANT_SECRET", "x" * 16)
    with pytest.raises(psycopg.OperationalError) as refused:
        Saga("acme").execute(CREATE_ROLE)
    assert create_role.RETRY.covers(refused.value)
    assert "hidden-word" not in str(refused.value)


def test_admin_without_superuser_can_do_all_of_it(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    with target.connect() as admin:
        admin.execute("DROP ROLE IF EXISTS provisioner")
        admin.execute("CREATE ROLE provisioner LOGIN CREATEROLE CREATEDB PASSWORD 'only-for-this-test'")
        admin.execute("GRANT ALL ON DATABASE admin TO provisioner")
    url = psycopg.conninfo.make_conninfo(target.url, user="provisioner", password="only-for-this-test")
    monkeypatch.setenv("TENANTS_DATABASE_URL", url)
    try:
        provisioned("acme").undo(PROVISION)
        assert target.world("acme") == NOTHING
        provisioned("acme")
        with log_in(target, "acme"):
            Saga("acme").walk(SUSPEND)
        Saga("acme").walk(RESUME)
        Saga("acme").walk(OFFBOARD[:2]).undo(OFFBOARD[:2])
        log_in(target, "acme").close()
        Saga("acme").walk(OFFBOARD)
        assert target.world("acme") == NOTHING
    finally:
        with target.connect() as admin:
            admin.execute("DROP OWNED BY provisioner")
            admin.execute("DROP ROLE provisioner")


def any_state(saga: Saga) -> SagaState:
    return SagaState(**saga.arguments(CREATE_ROLE))
