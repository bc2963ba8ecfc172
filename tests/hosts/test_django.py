"""Sagas in a Django shop: its settings, its transactions, its worker, and django-celery-beat's scheduler."""

from __future__ import annotations

import importlib

import pytest

from sagaworker import Engine, InvalidInput
from sagaworker.celery.django import renew_connections
from tests.hosts.host import DJANGO
from tests.hosts.walks import Walks
from tests.showing import timeline
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def shop(open_shop, broker):
    shop = open_shop(DJANGO, broker, schema="of_sagas" if broker.name == "rabbitmq" else None)
    shop.open()
    return shop


class TestDjango(Walks):
    pass


@pytest.mark.parametrize("using", ["serializable", "repeatable_read", "server_side"])
def test_a_saga_joins_a_transaction_of_every_kind(shop, using):
    placed = shop.order(using=using)
    assert (placed["same"], placed["kept"]) == (True, True)
    assert shop.finished(placed["saga"]).status == "completed"
    assert shop.status_of(placed["order"]) == "shipped"


def test_a_start_without_a_transaction_is_refused_in_a_sentence(shop):
    refused = shop.post("/bare", status=400)
    assert refused["autocommit"] is True
    assert "connection must be in a transaction, got one in autocommit" in refused["refused"]


def test_a_step_outlives_the_shops_limits_and_a_task_of_the_shop_does_not(shop):
    gate = shop.gate(f"long-{shop.broker.name}")
    hang = shop.gate(f"hang-{shop.broker.name}")
    placed = shop.order(gate=gate.name)
    gate.reached()
    sent = shop.post("/tasks/shop.tasks.hang", args=[hang.name])
    wait_until((shop.folder / f"{hang.name}.soft").exists, what="the soft limit")
    wait_until(lambda: f"Hard time limit (2s) exceeded for shop.tasks.hang[{sent['id']}]" in shop.hands.logs())
    gate.opens()
    assert shop.finished(placed["saga"]).status == "completed"
    assert [row.attempts for row in shop.engine.list_step_results(placed["saga"])] == [1, 1, 1]


def test_the_shops_own_tasks_keep_their_retries_queues_and_rates(shop):
    mailed = shop.post("/tasks/shop.tasks.send_mail", args=[2], wait=True)
    assert mailed["result"] == {"retries": 2, "queue": "mails"}
    told = shop.command("-m", "celery", "-A", "shop", "inspect", "registered", "rate_limit", "max_retries")
    assert "shop.tasks.send_mail [rate_limit=3000/m max_retries=5]" in told
    ours = {line.partition("sagaworker.")[2] for line in told.splitlines() if "sagaworker." in line}
    assert "run_saga [max_retries=0]" in ours
    assert {one.partition(" ")[2] for one in ours} == {"[max_retries=0]"}


def test_a_connection_that_the_server_ended_within_a_step_is_not_what_its_next_attempt_gets(shop):
    """Django keeps it until a request or a task is over; a saga's steps are one task."""
    placed = shop.order()
    shop.finished(placed["saga"])
    gate = shop.gate(f"invoice-{shop.broker.name}")
    inputs = {"order": placed["order"], "gate": gate.name}
    steps = ["shop.steps.reserve", "shop.steps.invoice"]
    started = shop.post("/tasks/sagaworker.start_saga", args=["invoices", steps, inputs], wait=True)
    gate.reached()
    shop.end_connections()
    gate.opens()
    done = shop.finished(started["result"])
    assert done.status == "completed", timeline(shop.engine, done.id)
    assert [row.attempts for row in shop.engine.list_step_results(done.id)] == [1, 2]


def test_a_django_that_is_imported_and_not_in_use_is_left_alone():
    assert importlib.import_module("django.db").connections is not None
    renew_connections(after_failure=True)


def test_djangos_own_connection_is_refused_with_what_to_give_instead(database_url):
    with (
        Engine.from_env(database_url=database_url, step_packages="steps") as engine,
        pytest.raises(InvalidInput, match=r"got a django.*\n.*give what is beneath it, connection\.connection"),
    ):
        engine.start("t", ["steps.echo"], connection=importlib.import_module("django.db").connection)
