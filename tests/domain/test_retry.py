"""Retry policies say when and how long; the draw comes from outside."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagaworker import InvalidInput, RetryPolicy, StepFailed, StepTimedOut


class Declined(StepFailed):
    pass


def test_by_default_every_exception_but_a_definite_failure_is_covered():
    policy = RetryPolicy(max_attempts=2)
    assert policy.covers(ConnectionError())
    assert policy.covers(StepTimedOut())
    assert policy.covers(SystemExit())
    assert not policy.covers(StepFailed("no"))


def test_a_definite_failure_is_covered_only_where_it_is_listed():
    assert RetryPolicy(retry_on=(StepFailed,)).covers(Declined("no"))
    assert RetryPolicy(retry_on=(Declined,)).covers(Declined("no"))
    assert not RetryPolicy(retry_on=(Declined,)).covers(StepFailed("no"))
    assert not RetryPolicy(retry_on=(Exception,)).covers(Declined("no"))


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_the_delay_grows_by_its_factor_and_stays_within_its_bounds(attempts, draw):
    policy = RetryPolicy(base=0.5, factor=2, max_delay=60)
    full = min(60, 0.5 * 2 ** min(attempts - 1, 100))
    assert full / 2 <= policy.delay(attempts, draw) <= full


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_attempts": 0},
        {"max_attempts": True},
        {"base": -1},
        {"factor": 0.5},
        {"base": float("nan")},
        {"retry_on": ("x",)},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(InvalidInput):
        RetryPolicy(**wrong)
