"""Names come from outside: whatever they are, they are refused or quoted, never executed."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from sagaworker import SagaState, StepFailed
from steps.tenants import OFFBOARD, PROVISION, RESUME, SUSPEND, password_for
from steps.tenants._server import locked
from steps.tenants._tenant import Inputs
from tests.tenants.sagas import NOTHING, Saga, member, provisioned
from tests.tenants.target import Target

HOSTILE = [
    "", " ", "a b", "acme\n", "\nacme", "acme\r", "acme\t", "acme\x00", "acme\x00evil", "Acme", "ACME", "1acme",
    "_acme",
    'a"', 'a""b', "a'", "a''; DROP ROLE postgres; --", 'a"; DROP DATABASE postgres; --', "a;b", "a--", "a/*", "a\\",
    "a$$",
    "a%s", "a%(x)s", "{role}", "a.b", "../a", "a-b", "a@b", "a=b", "a&b", "\u0430cme", "acm\u0435", "\uff41cme",
    "acme\u0661",
    "acme\u200b", "acme\u0301", "\u212aelvin", "\u017facme", "ac\u00b7me", "\ud800", "\U0001f4a9", "a" * 41, "a" * 64,
    "a" * 100_000, "postgres", "public", "template0", "template1", "none", "pg_", "pg_monitor", "pg_catalog",
    None, True, False, 0, 7, 1.5, float("nan"), [], ["acme"], {}, {"tenant": "acme"}, b"acme",
]  # fmt: skip
STEPS = (*PROVISION, *SUSPEND, *RESUME, *OFFBOARD)


def short(value: object) -> str:
    return ascii(value)[:40]


@pytest.mark.parametrize("name", HOSTILE, ids=short)
def test_hostile_name_is_refused_when_a_saga_starts(name: Any) -> None:
    with pytest.raises(ValueError, match=r"^tenant must be") as refused:
        Inputs(tenant=name)
    assert len(str(refused.value)) < 300
    str(refused.value).encode()  # It can be stored and shown.
    assert "\x00" not in str(refused.value)
    with pytest.raises(ValueError, match=r"^tenant must be"):
        password_for(name)


@pytest.mark.parametrize("step", STEPS)
def test_hostile_name_is_refused_by_every_step_before_it_looks_for_a_server(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TENANTS_DATABASE_URL", raising=False)
    assert importlib.import_module(step).Inputs is Inputs
    for name in HOSTILE:
        with pytest.raises(StepFailed, match=r"^tenant must be"):
            Saga(name).execute(step)
        if (undo := member(step, "compensate")) and step != "steps.tenants.drop_database":
            with pytest.raises(StepFailed, match=r"^tenant must be"):
                undo(SagaState(**Saga(name).arguments(step, "unknown")))


@pytest.mark.parametrize("rotation", [-1, 1_000_001, 10**400, 1.0, "1", None, True, [], float("nan")], ids=short)
def test_rotation_must_be_a_small_whole_number(rotation: Any) -> None:
    with pytest.raises(ValueError, match=r"^rotation must be a whole number from 0 to 1000000, got "):
        Inputs(tenant="acme", rotation=rotation)


@pytest.mark.parametrize("name", ["user", "select", "x__9_", "a" * 40])
def test_name_of_the_right_form_works_whatever_it_means_in_sql(name: str, target: Target) -> None:
    saga = provisioned(name)
    Saga(name).walk(OFFBOARD[:2]).undo(OFFBOARD[:2])
    saga.undo(PROVISION)
    assert target.world(name) == NOTHING


@pytest.mark.parametrize("name", ['x"; DROP TABLE t; --', "x'; SELECT 1; --", "{name}", "%s", "x y", "naïve"])
def test_identifier_is_quoted_even_if_a_hostile_one_came_that_far(name: str, target: Target) -> None:
    with locked(SagaState(**Saga("acme").arguments(PROVISION[0]))) as server:
        server.run("CREATE ROLE {name}", name=name)
        found = server.connection.execute("SELECT count(*) FROM pg_roles WHERE rolname = %s", [name]).fetchone()
        server.run("DROP ROLE {name}", name=name)
    assert found == (1,)
    assert target.world("acme") == NOTHING
