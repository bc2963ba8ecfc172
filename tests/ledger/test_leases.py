"""A lease as its holder knows it."""

from datetime import timedelta

import pytest

from sagaworker.ledger import lease
from sagaworker.ledger.lease import Lease


@pytest.fixture
def slept(monkeypatch):
    """Let the machine sleep for so many seconds: CLOCK_BOOTTIME goes on, CLOCK_MONOTONIC stands still."""
    before, seconds = lease.now(), [0.0]
    clocks = {lease.time.CLOCK_MONOTONIC: lambda: before, lease.time.CLOCK_BOOTTIME: lambda: before + seconds[0]}
    monkeypatch.setattr(lease.time, "clock_gettime", lambda clock: clocks[clock]())
    return lambda more: seconds.__setitem__(0, seconds[0] + more)


def test_a_lease_runs_out_while_the_machine_is_suspended(slept):
    held = Lease(duration=timedelta(seconds=30))
    slept(20)
    assert not held.is_lost
    slept(11)
    assert held.is_lost


def test_user_code_that_outlives_its_bound_is_extended_no_more(slept):
    held = Lease(duration=timedelta(seconds=30))
    with held.at_most(5):
        assert held.may_be_extended
        slept(6)
        assert not held.may_be_extended
    assert held.may_be_extended


def test_a_step_that_walks_another_saga_inside_itself_keeps_its_own_bound(slept):
    outer, inner = Lease(duration=timedelta(seconds=30)), Lease(duration=timedelta(seconds=30))
    with outer.at_most(5):
        with inner.at_most(2):
            pass
        slept(6)
        assert not outer.may_be_extended
