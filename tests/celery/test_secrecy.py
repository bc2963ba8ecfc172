"""No password of a tenant, nor what it is made from, is anywhere but in the worker's environment and memory.

Real processes; afterwards everything they wrote, sent and show is searched. Each place must hold what it should hold,
found by the same search: else it was empty, or the search blind to its form.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import NamedTuple

import psycopg
import pytest
import redis
from psycopg import sql

from sagaworker.domain.records import SagaRun
from steps.tenants import PROVISION, password_for
from tests.celery.nodes import Flower
from tests.tenants.secrecy import assert_nowhere
from tests.tenants.target import serve
from tests.waiting import PATIENCE, wait_until

SPOILS = "tests.steps_for_tests.tenancy:"
TENANTS = {
    "whole": (PROVISION, "completed"),
    "half": ([*PROVISION[:3], "steps.fail", PROVISION[3]], "rolled_back"),
    "unreachable": ([*PROVISION[:3], SPOILS + "TakesThePassword", SPOILS + "LogsIn"], "rolled_back"),
    "talkative": ([*PROVISION, SPOILS + "RaisesItsConnection"], "rolled_back"),
}
ROTATION = 7
TABLES_OF_SAGAS = {"saga_runs", "saga_step_results", "saga_events", "saga_episodes"}
END = b"the end of the traffic"


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("target")) as target:
        yield target


class Traffic:
    """All that anybody sends to the broker, as the broker tells of it."""

    def __init__(self, url):
        self._url = url
        self._lines = []
        self._connection = redis.Redis.from_url(url, socket_timeout=None).connection_pool.make_connection()
        self._connection.send_command("MONITOR")
        assert self._connection.read_response() == b"OK"
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        while not self._lines or END not in self._lines[-1]:
            self._lines.append(self._connection.read_response(disable_decoding=True))

    def ended(self):
        """Everything until now."""
        with redis.Redis.from_url(self._url) as client:
            client.echo(END)
        self._reader.join(PATIENCE)
        assert not self._reader.is_alive(), "the broker must tell of the echo"
        self._connection.disconnect()
        return b"\n".join(self._lines)


class Place(NamedTuple):
    """Where something may have been left, and words that must be there."""

    content: bytes | str
    words: Sequence[str]


class Lived(NamedTuple):
    """The sagas of all tenants by tenant, ended, and the places by name."""

    runs: dict[str, SagaRun]
    places: dict[str, Place]


@pytest.fixture(scope="module")
def lived(stage, target):
    traffic = Traffic(stage.broker_url)
    worker = stage.worker("-l", "DEBUG", env=target.environment)
    flower = stage.run(Flower(stage.folder, stage.env | target.environment))
    started = {
        tenant: stage.engine.start("provision", list(steps), inputs=inputs_of(tenant), key=f"key-of-{tenant}")
        for tenant, (steps, _) in TENANTS.items()
    }
    runs = {tenant: stage.finished(run.id) for tenant, run in started.items()}
    ids, keys = [run.id for run in runs.values()], [run.key for run in runs.values()]
    tasks = wait_until(lambda: over(flower, keys), what="the task of each saga over in Flower")
    pages = {f"Flower's {path}": place for path, place in shown(flower, tasks, ids, keys).items()}
    worker.kill("SIGTERM")
    assert worker.wait() == 0
    flower.kill("SIGTERM")
    flower.wait()
    places = {
        **pages,
        **{f"table {name}": place for name, place in dumped(stage.database_url, ids).items()},
        "the broker's traffic": Place(traffic.ended(), [*ids, *tasks, *keys, "task-succeeded"]),
        "the worker's log": Place(worker.logs(), [*ids, *tasks, "DEBUG/MainProcess"]),
        "Flower's log": Place(flower.logs(), ["Visit me at"]),
        "the target's log": Place(target.log(), [f"tenant_{tenant}" for tenant in TENANTS]),
    }
    return Lived(runs, places)


def inputs_of(tenant):
    return {"tenant": tenant, "rotation": ROTATION}


def over(flower, keys):
    """Ids of the tasks that ended these sagas, or None while one is missing."""
    tasks = {
        id: task["name"] for id, task in flower.get("/api/tasks").items() if task["state"] in ("SUCCESS", "FAILURE")
    }
    ended = [id for id, name in tasks.items() if name and any(f"[{key}]" in name for key in keys)]
    return ended if len(ended) == len(keys) else None


def shown(flower, tasks, ids, keys):
    """Flower's answers and pages."""
    worker = next(iter(flower.get("/api/workers")))
    table = "draw=1&start=0&length=100&search[value]=&order[0][column]=0&order[0][dir]=asc&columns[0][data]=name"
    paths = {
        "/api/tasks": [*tasks, *ids, *keys],
        "/api/task/types": ["provision"],
        "/api/workers?refresh=1": [worker],
        "/tasks": ["Tasks · Flower"],
        f"/tasks/datatable?{table}": [*tasks, *ids, *keys],
        "/workers": [worker],
        f"/worker/{worker}": [worker],
        "/broker": ["Broker · Flower"],
        "/metrics": ["provision"],
    }
    paths |= {f"{page}/{task}": [task, "provision"] for page in ("/task", "/api/task/info") for task in tasks}
    return {path: Place(flower.text(path), words) for path, words in paths.items()}


def dumped(url, ids):
    """Every column of every table of the ledger, as COPY writes it."""
    places = {}
    with psycopg.connect(url) as connection:
        names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        for (name,) in names:
            with connection.cursor().copy(sql.SQL("COPY {} TO STDOUT").format(sql.Identifier(name))) as rows:
                places[name] = Place(b"".join(rows), ids if name in TABLES_OF_SAGAS else [])
    assert places.keys() > TABLES_OF_SAGAS
    return places


def test_each_saga_ended_as_it_should_and_the_errors_came_out_of_a_connection(stage, lived):
    ends = {tenant: run.status for tenant, run in lived.runs.items()}
    assert ends == {tenant: end for tenant, (_, end) in TENANTS.items()}
    errors = {name: json.dumps(dict(failed(stage, lived.runs[name]).error)) for name in ("unreachable", "talkative")}
    assert "password authentication failed" in errors["unreachable"]
    assert "psycopg.Connection" in errors["talkative"]


def test_every_place_holds_what_it_should_and_the_search_finds_it(lived):
    missing = [
        f"{word} in {name}" for name, place in lived.places.items() for word in place.words if not found(word, place)
    ]
    assert missing == []


def test_no_secret_of_a_tenant_is_in_ledger_journal_broker_log_or_flower(lived, target, monkeypatch):
    monkeypatch.setenv("TENANT_SECRET", target.secret)
    passwords = [password_for(tenant, ROTATION) for tenant in TENANTS]
    assert_nowhere([target.secret, *passwords], {name: place.content for name, place in lived.places.items()})


def test_the_password_of_the_admin_is_there_neither(lived, target):
    # The test itself set it by a statement, which the server logged.
    contents = {name: place.content for name, place in lived.places.items() if name != "the target's log"}
    assert_nowhere([psycopg.conninfo.conninfo_to_dict(target.url)["password"]], contents)


def failed(stage, run):
    """The row of the step that failed."""
    return next(row for row in stage.engine.list_step_results(run.id) if row.error)


def found(word, place):
    try:
        assert_nowhere([word], {"it": place.content})
    except AssertionError as said:
        return " in it at byte " in str(said)
    return False
