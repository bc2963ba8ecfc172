"""The other pools: solo walks one saga at a time, green ones are refused."""

from __future__ import annotations

import os
import subprocess
import sys

import psycopg

from sagaworker.ledger.migrate import migrate
from tests.celery.nodes import ROOT
from tests.celery.stage import ACTS
from tests.waiting import PATIENCE

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


def test_a_solo_worker_walks_one_saga_after_the_other_in_its_own_process(stage):
    worker = stage.worker("-P", "solo")
    runs = [stage.engine.start("alone", [ACTS] * 2) for _ in range(3)]
    failing = stage.engine.start("alone", [ACTS, {"step": ACTS, "params": {"fail": True}}])
    assert [run.status for run in stage.finished(*(run.id for run in (*runs, failing)))] == [
        *["completed"] * 3,
        "rolled_back",
    ]
    assert {e.pid for run in runs for e in stage.engine.timeline(run.id).episodes} == {worker.pid}
    assert not stage.breaches(*(run.id for run in runs), failing.id)
    worker.teardown()


def refused(*options, env):
    """What a worker says that does not start."""
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "sagaworker.celery_app", "worker", *options],
        env={**os.environ, **env}, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_green_pool_is_refused_in_a_sentence_and_takes_no_doorbell(stage):
    run = stage.engine.start("green", ["steps.echo"])
    pool = "tests.steps_for_tests.gevent_like:TaskPool"
    said = refused("-P", "custom", env={**stage.env, "CELERY_CUSTOM_WORKER_POOL": pool})
    assert "must be prefork, threads or solo, got tests.steps_for_tests.gevent_like" in said
    assert stage.engine.get(run.id).status == "pending"


def test_a_worker_on_tables_that_are_older_than_its_code_is_refused_in_a_sentence(stage, empty_database_url):
    migrate(empty_database_url, "0003")
    said = refused("-c", "1", env={**stage.env, "SAGAWORKER_DATABASE_URL": empty_database_url})
    assert "the ledger cannot be used: it is at 0003" in said
    assert "run: sagaworker migrate" in said


def test_a_worker_starts_on_tables_that_are_newer_and_while_the_database_is_away(stage, empty_database_url):
    migrate(empty_database_url)
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute("UPDATE sagaworker_version SET version_num = '9999'")
    for url, said in (
        (empty_database_url, "a newer one made it"),
        (NOWHERE, "the ledger does not let this worker in yet"),
    ):
        worker = stage.worker("-c", "1", env={"SAGAWORKER_DATABASE_URL": url})
        assert said in worker.logs()
        worker.teardown()


def test_a_worker_without_a_ledger_is_refused_in_a_sentence(stage):
    said = refused("-c", "1", env={**stage.env, "SAGAWORKER_DATABASE_URL": ""})
    assert "a worker that consumes control and sagas must know the ledger's address, got none" in said
    assert "set SAGAWORKER_DATABASE_URL" in said
