"""A worker's log at INFO: nothing when nothing happened."""

from __future__ import annotations

import logging

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
    beat = stage.beat()
    wait_until(lambda: beat.logs().count(f"({SWEEP})") >= 3, what="three sweeps")
    lines = [line for line in worker.logs().splitlines() if SWEEP in line and "  . " not in line]
    assert lines == []
