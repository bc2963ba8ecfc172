"""A process that a step forks is the step's own: signals end it as they end any other."""

import multiprocessing
import os
import signal
import threading

import pytest

from sagaworker.celery.worker.polite import NOTED, StopFlag, TermNotice


@pytest.mark.parametrize("signum", NOTED)
def test_a_forked_process_is_ended_by_a_signal_that_its_parent_only_notes(signum):
    with TermNotice(StopFlag()).noted():
        pid = os.fork()
        if pid == 0:
            while True:
                signal.pause()
        os.kill(pid, signum)
        _, status = os.waitpid(pid, 0)
    assert os.WTERMSIG(status) == signum


def test_a_helper_that_is_terminated_can_be_joined():
    notice = TermNotice(StopFlag())
    with notice.noted():
        helper = multiprocessing.get_context("fork").Process(target=threading.Event().wait)
        helper.start()
        helper.terminate()
        helper.join(60)
        assert helper.exitcode == -signal.SIGTERM
    assert not notice.was_given


def test_the_parent_goes_on_noting():
    notice = TermNotice(stopping := StopFlag())
    stopping.set()
    with notice.noted():
        if (pid := os.fork()) == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        os.kill(os.getpid(), signal.SIGTERM)
        assert notice.was_given
