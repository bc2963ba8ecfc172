"""The witness by itself: real forks, real kills, and no Celery around it."""

from __future__ import annotations

import logging
import os
import select
import signal
import threading
import uuid

import pytest

from sagaworker.celery.worker.witness import Witness
from tests.waiting import PATIENCE, wait_until


@pytest.fixture
def children():
    pids = []
    yield pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def born(witness, children, *, reports=True):
    """A forked child that reports and waits to be killed."""
    owner = str(uuid.uuid4())
    pid = os.fork()
    if pid == 0:
        if reports:
            witness.report(owner)
        signal.pause()
        os._exit(0)
    children.append(pid)
    return pid, owner


def killed(pid, children):
    os.kill(pid, signal.SIGKILL)
    children.remove(pid)


def watching(bury):
    witness = Witness(bury)
    witness.prepare()
    return witness


def test_each_child_is_buried_once_whether_forked_before_or_after(children):
    buried = []
    witness = watching(lambda owner, _pid: buried.append(owner) or 1)
    before, first = born(witness, children)
    witness.watch()
    after, second = born(witness, children)
    wait_until(lambda: len(witness._watched) == 2)
    killed(after, children)
    wait_until(lambda: buried == [second])
    killed(before, children)
    wait_until(lambda: buried == [second, first])
    os.waitpid(before, 0)
    os.waitpid(after, 0)


def test_a_child_that_died_and_was_reaped_before_anybody_looked_is_buried(children):
    buried = []
    witness = watching(lambda owner, _pid: buried.append(owner) or 0)
    pid, owner = born(witness, children)
    assert select.select([witness._reports], [], [], PATIENCE)[0]
    killed(pid, children)
    os.waitpid(pid, 0)
    witness.watch()
    wait_until(lambda: buried == [owner])


def test_a_burial_that_fails_is_logged_once_and_the_next_one_still_happens(children, caplog):
    buried = []

    def bury(owner, _pid):
        buried.append(owner)
        raise ConnectionError("no database")

    witness = watching(bury)
    witness.watch()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            pid, _owner = born(witness, children)
            wait_until(lambda: witness._watched)
            killed(pid, children)
            os.waitpid(pid, 0)
            wait_until(lambda: not witness._watched)
    assert len(buried) == 2
    assert caplog.text.count("no database") == 2


def test_nothing_is_forked_while_a_burial_runs(children, monkeypatch):
    inside, leave = threading.Event(), threading.Event()
    order = []
    # What is registered last is asked first before a fork, so this is asked after the witness was.
    os.register_at_fork(before=lambda: order.append("fork") if inside.is_set() else None)

    def bury(_owner, _pid):
        inside.set()
        leave.wait(PATIENCE)
        order.append("burial")
        return 1

    witness = watching(bury)
    witness.watch()
    pid, _owner = born(witness, children)
    wait_until(lambda: witness._watched)
    killed(pid, children)
    os.waitpid(pid, 0)
    assert inside.wait(PATIENCE)
    os.register_at_fork(before=leave.set)  # and this before it
    monkeypatch.setattr("sagaworker.celery.worker.witness.FORK_WAITS", PATIENCE)
    born(witness, children, reports=False)
    assert order == ["burial", "fork"]


def test_without_pidfds_any_number_of_children_report_to_nobody_and_none_waits(monkeypatch, caplog):
    """Nobody reads the reports there: a pipe would be full after some 3,000 children, and the next would never start."""

    def refused(_pid):
        raise PermissionError("seccomp")

    monkeypatch.setattr(os, "pidfd_open", refused)
    witness = watching(lambda _owner, _pid: 0)
    assert "by their leases only" in caplog.text
    witness.watch()
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)  # ends a child that waits
        for _ in range(5000):
            witness.report(str(uuid.uuid4()))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert witness.deaths > 0
