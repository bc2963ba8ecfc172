"""The module-level functions: the engine that the environment names."""

from __future__ import annotations

import pytest

import sagaworker
from sagaworker import api


@pytest.fixture(autouse=True)
def _environment(monkeypatch, database_url):
    monkeypatch.setenv("SAGAWORKER_DATABASE_URL", database_url)
    monkeypatch.setenv("SAGAWORKER_STEP_PACKAGES", "steps")
    monkeypatch.delenv("SAGAWORKER_BROKER_URL", raising=False)
    api.engine.cache_clear()
    yield
    api.engine().close()
    api.engine.cache_clear()


def test_a_saga_is_started_listed_read_and_cancelled():
    run = sagaworker.start_saga("orders", ["steps.echo", "steps.echo"], key="o-1")
    assert sagaworker.start_saga("orders", ["steps.echo", "steps.echo"], key="o-1").id == run.id
    other = sagaworker.start_saga("orders", ["steps.echo"])
    api.engine().run(run.id)
    assert sagaworker.get_saga(run.id).status == "completed"
    assert {one.id for one in sagaworker.list_sagas(kind="orders")} == {run.id, other.id}
    assert [row.status for row in sagaworker.list_step_results(run.id)] == ["completed"] * 2
    assert sagaworker.cancel_saga(other.id, "changed my mind") == "cancelled"
    assert sagaworker.cancel_saga(run.id) == "not_active"
    assert sagaworker.get_saga(other.id).cancel_reason == "changed my mind"
