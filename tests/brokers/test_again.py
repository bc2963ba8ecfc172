"""What a message looks like that is put back."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

import pytest
import redis
from celery import Celery
from celery.app.task import Context
from kombu import Connection, Exchange, Queue

from sagaworker.doorbell.publisher import Doorbells

REQUEST = Context(
    id="7d3a3e0a-0000-4000-8000-000000000000",
    task="sagaworker.cancel_saga",
    args=["order", "no longer wanted"],
    kwargs={"who": "ana"},
    shadow=None,
    argsrepr="",
    kwargsrepr="",
    reply_to="replies",
    ignore_result=False,
    root_id=None,
    parent_id=None,
    origin="gen1@shop",
    expires="2126-11-27T22:00:00+00:00",
    callbacks=[{"task": "shop.told"}],
    errbacks=None,
    chain=[{"task": "shop.next"}],
    chord=None,
    group="g",
    group_index=2,
    retries=1,
    sentry_trace="abc",
    delivery_info={"routing_key": "control", "priority": 3},
)


@pytest.fixture
def put_back(broker_url):
    def send(request=REQUEST, **transport_options):
        app = Celery("shop", broker=broker_url, set_as_current=False)
        app.conf.broker_transport_options = transport_options
        doorbells = Doorbells(app)
        doorbells.again(request, seconds=30.0, headers={"sagaworker_turn": 4})
        doorbells.close()
        with redis.Redis.from_url(broker_url) as client:
            (key,) = [key for key in client.keys("*control*") if client.type(key) == b"list"]
            return json.loads(client.lpop(key))

    return send


def test_it_keeps_its_id_its_arguments_its_priority_and_where_its_result_goes(put_back):
    message = put_back()
    headers = message["headers"]
    assert (headers["id"], headers["task"], headers["sagaworker_turn"]) == (REQUEST.id, REQUEST.task, 4)
    assert headers["ignore_result"] is False
    assert (message["properties"]["priority"], message["properties"]["reply_to"]) == (3, "replies")
    assert message["properties"]["correlation_id"] == REQUEST.id
    assert (headers["expires"], headers["group"], headers["group_index"]) == (REQUEST.expires, "g", 2)


def test_it_keeps_what_others_added_to_it(put_back):
    assert put_back()["headers"]["sentry_trace"] == "abc"


def test_what_a_client_left_out_is_no_reason_to_lose_it(put_back):
    """A client in another language sends what the protocol asks for and no more."""
    bare = Context(
        id=REQUEST.id, task=REQUEST.task, args=["order"], kwargs={}, delivery_info={"routing_key": "control"}
    )
    for name in ("argsrepr", "kwargsrepr", "origin", "shadow"):
        vars(bare).pop(name, None)
    assert put_back(bare)["headers"]["id"] == REQUEST.id


def test_it_goes_the_way_it_came_where_the_host_has_a_queue_of_its_own_making(vhost):
    """Its routing key is no queue's name then: by the anonymous exchange it would be lost."""
    queue = Queue("control", Exchange("media", "topic"), routing_key="saga.control")
    with Connection(vhost) as connection:
        queue.bind(connection.channel()).declare()
        app = Celery("shop", broker=vhost, set_as_current=False)
        app.conf.task_queues = [queue]
        request = Context({**vars(REQUEST)}, delivery_info={"exchange": "media", "routing_key": "saga.control"})
        doorbells = Doorbells(app)
        doorbells.again(request, seconds=0.1, headers={})
        doorbells.close()
        message = queue.bind(connection.channel()).get(no_ack=True)
    assert message.headers["id"] == REQUEST.id


def test_it_keeps_what_waits_for_its_result(put_back):
    args, kwargs, embed = json.loads(base64.b64decode(put_back()["body"]))
    assert (args, kwargs) == (REQUEST.args, REQUEST.kwargs)
    assert (embed["callbacks"], embed["chain"]) == (REQUEST.callbacks, REQUEST.chain)


@pytest.mark.parametrize(
    ("options", "most"), [({}, 30), ({"visibility_timeout": 8}, 2), ({"visibility_timeout": 3600}, 30)]
)
def test_it_is_due_before_redis_would_deliver_it_twice(put_back, options, most):
    """A message that waits in a worker for longer than the visibility time-out is given to another worker too, each time."""
    due = datetime.fromisoformat(put_back(**options)["headers"]["eta"])
    assert (due - datetime.now(UTC)).total_seconds() <= most
