"""A child that leaves waits for main to read what it reported; when the whole worker stops, not for long."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from billiard import pool
from billiard.pool import Worker

from sagaworker.celery.worker import polite
from sagaworker.celery.worker.polite import StopFlag, leave_soon


@pytest.fixture
def waits(monkeypatch):
    """How often a child waited; nothing sleeps."""
    found = []
    monkeypatch.setattr(polite.time, "sleep", found.append)
    monkeypatch.setattr(Worker, "_ensure_messages_consumed", Worker._ensure_messages_consumed)
    return found


@pytest.mark.parametrize(
    ("stops", "read", "answer", "most"),
    [
        (False, 0, False, pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT),
        (True, 0, False, polite.PATIENCE),
        (False, 3, True, 0),
        (True, 3, True, 0),
    ],
)
def test_a_leaving_child_waits_shortly_only_where_the_worker_stops(waits, stops, read, answer, most):
    stop = StopFlag()
    if stops:
        stop.set()
    leave_soon(stop)
    child = SimpleNamespace(on_ready_counter=SimpleNamespace(value=read))
    assert Worker._ensure_messages_consumed(child, 3) is answer
    assert len(waits) == most


def test_a_report_that_main_reads_meanwhile_ends_the_wait(waits, monkeypatch):
    counter = SimpleNamespace(value=0)
    monkeypatch.setattr(polite.time, "sleep", lambda _seconds: setattr(counter, "value", counter.value + 1))
    leave_soon(StopFlag())
    assert Worker._ensure_messages_consumed(SimpleNamespace(on_ready_counter=counter), 3) is True


def test_a_pool_that_counts_nothing_waits_for_nothing(waits):
    leave_soon(StopFlag())
    assert Worker._ensure_messages_consumed(SimpleNamespace(on_ready_counter=None), 3) is False
    assert waits == []


def test_billiard_still_waits_as_it_did_when_this_was_written():
    """Where this fails, `leave_soon` has nothing to shorten any more, or another way to be told."""
    assert "on_ready_counter" in Worker._ensure_messages_consumed.__code__.co_names
    assert pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_INTERVAL == 0.1
