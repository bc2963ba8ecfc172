"""Sagas in a FastAPI shop: a SQLAlchemy session for each request, async endpoints, an Alembic history of its own."""

from __future__ import annotations

import pytest

from tests.hosts.host import FASTAPI
from tests.hosts.walks import Walks


@pytest.fixture(scope="module")
def shop(open_shop, broker):
    shop = open_shop(FASTAPI, broker, schema="of_sagas" if broker.name == "redis" else None)
    shop.open()
    return shop


class TestFastApi(Walks):
    pass


@pytest.mark.parametrize("kind", ["serializable", "repeatable_read", "latin1"])
def test_a_saga_joins_a_session_of_every_kind(shop, kind):
    placed = shop.post(f"/orders?kind={kind}")
    assert (placed["same"], placed["kept"]) == (True, True)
    assert shop.finished(placed["saga"]).status == "completed"
    assert shop.status_of(placed["order"]) == "shipped"


def test_the_shops_own_json_stays_the_shops(shop):
    placed = shop.post("/orders")
    assert placed["kept"] is True  # its saga has the numbers of everybody
    assert shop.look(placed["order"])["euros"] == "Decimal"


def test_a_client_encoding_that_lacks_a_letter_of_the_saga_changes_nothing(shop):
    email = "søren-☃@example.com"
    placed = shop.post("/orders?kind=latin1", inputs={"greeting": email})
    assert (placed["same"], placed["kept"]) == (True, True)
    done = shop.finished(placed["saga"])
    assert (done.status, done.inputs["greeting"]) == ("completed", email)


def test_a_session_in_autocommit_is_refused_in_a_sentence(shop):
    refused = shop.post("/orders?kind=autocommit", status=400)["refused"]
    assert "connection must be in a transaction, got one in autocommit" in refused


def test_a_saga_is_started_in_the_event_loops_own_thread(shop):
    placed = shop.post("/blocking")
    assert shop.finished(placed["saga"]).status == "completed"


def test_a_step_outlives_the_shops_limits_and_a_task_of_the_shop_is_retried_by_them(shop):
    gate = shop.gate(f"long-{shop.broker.name}")
    placed = shop.order(gate=gate.name)
    gate.reached()
    hang = shop.gate(f"hang-{shop.broker.name}")
    assert shop.post("/tasks/store.tasks.report", args=[hang.name], wait=True)["result"] == 1
    assert hang.was_reached()
    gate.opens()
    assert shop.finished(placed["saga"]).status == "completed"
    assert [row.attempts for row in shop.engine.list_step_results(placed["saga"])] == [1, 1, 1]
