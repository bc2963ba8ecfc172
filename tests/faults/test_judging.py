"""What a chaos run says of the times when nobody was there."""

from __future__ import annotations

import pytest

from chaos.alive import nobody, within

CLAIMS = {11: 0.5, 12: 0.7, 21: 4.5}
LOOKS = [
    (1.0, {1: [11, 12]}),
    (2.0, {1: []}),  # all of its children are dead or stopped
    (3.0, {}),
    (4.0, {2: [21, 22]}),  # forked, and has claimed nothing yet
    (5.0, {2: [22]}),  # at work: another child of the same pool has claimed
    (6.0, {2: []}),
    (7.0, {2: [23], 3: [31]}),  # a new child of a pool that is at work
    (8.0, {3: [31]}),
    (9.0, {3: [31]}),
]


def test_nobody_is_there_from_the_look_that_finds_no_pool_at_work_to_that_which_finds_one():
    assert nobody(LOOKS, CLAIMS) == [(2.0, 5.0), (6.0, 7.0), (8.0, 9.0)]
    assert nobody(LOOKS[:1], CLAIMS) == nobody([], {}) == []
    assert nobody(LOOKS, {}) == [(1.0, 9.0)]


@pytest.mark.parametrize(
    ("spans", "seconds"),
    [
        ([], 0.0),
        ([(1.0, 9.9), (18.0, 20.0)], 0.0),
        ([(9.0, 10.5)], 0.5),
        ([(12.0, 13.0), (17.0, 30.0)], 2.0),
        ([(0.0, 30.0)], 8.0),
    ],
)
def test_only_the_time_between_fault_and_claim_in_which_nobody_was_there_is_not_judged(spans, seconds):
    assert within((10.0, 18.0), spans) == seconds
