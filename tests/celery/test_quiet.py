"""A worker's log at INFO: nothing when nothing happened."""

from __future__ import annotations

import logging

import psycopg
import pytest

from sagaworker.celery.worker.quiet import LOGGERS, Quiet
from tests.waiting import wait_until

SWEEP = "sagaworker.sweep_orphans"
NOTHING = "{'restarted': 0, 'failed': 0, 'rung': 0}"
NEWS = "{'restarted': 0, 'failed': 0, 'rung': 12}"


@pytest.mark.parametrize(
    ("context", "passes"),
    [
        ({"name": SWEEP, "id": "1"}, False),
        ({"name": SWEEP, "return_value": NOTHING}, False),
        ({"name": SWEEP, "return_value": NEWS}, True),
        ({"name": "shop.tick"}, True),
        ({"name": "checkout[7]", "return_value": "'completed'"}, True),
        (None, True),
    ],
)
def test_only_what_says_nothing_is_left_out(context, passes):
    record = logging.LogRecord(LOGGERS[0], logging.INFO, "", 0, "Task", (), None)
    if context is not None:
        record.data = context
    assert Quiet().filter(record) is passes


def test_errors_of_a_sweep_and_whoever_asks_for_debug_are_told_all():
    record = logging.LogRecord(LOGGERS[0], logging.ERROR, "", 0, "Task", (), None)
    record.data = {"name": SWEEP}
    assert Quiet().filter(record)
    record.levelno = logging.INFO
    logger = logging.getLogger(LOGGERS[0])
    before = logger.level
    logger.setLevel(logging.DEBUG)
    try:
        assert Quiet().filter(record)
    finally:
        logger.setLevel(before)


def test_a_quiet_worker_with_a_beat_says_nothing(stage):
    worker = stage.worker("-c", "1")
    # It says that it has done what it does at its start.
    wait_until(lambda: "Task sagaworker.recover[" in worker.logs() and "] succeeded" in worker.logs())
    stage.beat()
    with psycopg.connect(stage.database_url, autocommit=True) as connection:
        swept(connection)
        before = worker.logs()
        for _ in range(3):
            swept(connection)
    # On a busy machine a beat may come late: that is news.
    lines = [line for line in worker.logs().removeprefix(before).splitlines() if "no sweep began" not in line]
    assert lines == []


def swept(connection):
    """Wait until the worker has swept once more."""
    since = last_sweep(connection)
    wait_until(lambda: last_sweep(connection) != since, what="a sweep that the worker made")


def last_sweep(connection):
    return connection.execute("SELECT max(last_at) FROM saga_sweeps WHERE name LIKE 'sweep %'").fetchone()[0]
