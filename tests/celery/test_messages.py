"""No message takes a worker down: whatever lies in a queue, the next saga is walked by the same process."""

from __future__ import annotations

import base64
import json
import pickle
import tempfile
import uuid
from pathlib import Path

import pytest

from tests.waiting import wait_until


def envelope(body: object, **changes: object) -> bytes:
    """What Celery sends for a doorbell, with changes; a change to None leaves the part out."""
    headers = {
        "lang": "py",
        "task": "sagaworker.run_saga",
        "id": str(uuid.uuid4()),
        "eta": None,
        "expires": None,
        "retries": 0,
        "timelimit": [None, None],
        "root_id": "malformed",
        "parent_id": None,
        "argsrepr": "()",
        "kwargsrepr": "{}",
        "origin": "test",
    } | changes.pop("headers", {})
    properties = {
        "correlation_id": "malformed",
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": "sagas"},
        "priority": 0,
        "body_encoding": "base64",
        "delivery_tag": str(uuid.uuid4()),
    } | changes.pop("properties", {})
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    message = {
        "body": base64.b64encode(raw).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": headers,
        "properties": properties,
    }
    return json.dumps({name: value for name, value in (message | changes).items() if value is not ...}).encode()


PROOF = Path(tempfile.gettempdir()) / f"unpickled-{uuid.uuid4()}"


class Evil:
    def __reduce__(self):
        return open, (str(PROOF), "w")


GOOD = [["not-an-id"], {}, {}]
CORPUS = {
    "not JSON": b"this is no JSON",
    "not UTF-8": b"\xff\xfe\x00",
    "empty": b"",
    "a number": b"5",
    "a list": b"[1, 2]",
    "no envelope": b'{"a": 1}',
    "nested beyond the parser": b"[" * 100_000,
    "no properties": envelope(GOOD, properties={}).replace(b'"properties"', b'"porperties"'),
    "no delivery tag": envelope(GOOD).replace(b'"delivery_tag"', b'"delivery_gat"'),
    "no headers": envelope(GOOD).replace(b'"headers"', b'"haeders"'),
    "headers that are null": json.dumps(json.loads(envelope(GOOD)) | {"headers": None}).encode(),
    "headers that are a list": json.dumps(json.loads(envelope(GOOD)) | {"headers": [1]}).encode(),
    "empty headers": json.dumps(json.loads(envelope(GOOD)) | {"headers": {}}).encode(),
    "no id": envelope(GOOD).replace(b'"id"', b'"di"'),
    "body is an object": envelope({"a": 1}),
    "body is a number": envelope(7),
    "body is a text": envelope("abc"),
    "body is null": envelope(None),
    "body has two parts": envelope([[], {}]),
    "body has wrong parts": envelope([1, 2, 3]),
    "body is no JSON": envelope(b"{{{"),
    "body is no base64": json.dumps(json.loads(envelope(GOOD)) | {"body": "%%%"}).encode(),
    "body is a number, unencoded": json.dumps(json.loads(envelope(GOOD)) | {"body": 5}).encode(),
    "body of megabytes": envelope([["x" * 3_000_000], {}, {}]),
    "a pickle": envelope(pickle.dumps(Evil()), **{"content-type": "application/x-python-serialize"}),
    "unknown content type": envelope(GOOD, **{"content-type": "application/x-nothing"}),
    "unknown encoding": envelope(GOOD, **{"content-encoding": "x-nothing"}),
    "unknown body encoding": envelope(GOOD, properties={"body_encoding": "rot13"}),
    "unknown task": envelope(GOOD, headers={"task": "os.system"}),
    "task that is a list": envelope(GOOD, headers={"task": ["os.system"]}),
    "wrong eta": envelope(GOOD, headers={"eta": "yesterday"}),
    "wrong expires": envelope(GOOD, headers={"expires": "never"}),
    "wrong time limit": envelope(GOOD, headers={"timelimit": "soon"}),
    "time limits that are texts": envelope(GOOD, headers={"timelimit": ["1", "2"]}),
    "three time limits": envelope(GOOD, headers={"timelimit": [1, 2, 3]}),
    "delivery info that is a number": envelope(GOOD, properties={"delivery_info": 5}),
    "priority that is a text": envelope(GOOD, properties={"priority": "high"}),
    "group and stamps of a wrong kind": envelope(GOOD, headers={"group": {}, "stamps": 5, "stamped_headers": 7}),
    "embedded callbacks": envelope([["x"], {}, {"callbacks": 5, "errbacks": 6, "chain": 7, "chord": 8}]),
    "wrong retries": envelope(GOOD, headers={"retries": "many"}),
    "task id that is an object": envelope(GOOD, headers={"id": {"a": 1}}),
    "shadow that is an object": envelope(GOOD, headers={"shadow": {"a": 1}}),
}


@pytest.fixture(params=["prefork", "threads"], scope="module")
def worker(request, stage):
    container = stage.worker("-P", request.param, "-c", "2")
    yield container
    container.teardown()


@pytest.mark.parametrize("name", CORPUS)
def test_a_malformed_message_takes_neither_the_worker_nor_a_place_in_its_pool(stage, worker, name):
    main = worker.pid
    for _ in range(3):  # more often than there are places
        stage.redis.lpush("sagas", CORPUS[name])
    run = stage.finished(stage.engine.start("after", ["steps.echo"]).id)
    assert run.status == "completed"
    assert (worker.pid, worker.status) == (main, "running")
    wait_until(lambda: stage.redis.llen("sagas") + stage.redis.hlen("unacked") == 0, what="all taken")


def test_what_was_rejected_was_counted(stage, worker):
    assert "message 2 that cannot be read was rejected" in worker.logs()
    assert not PROOF.exists()
