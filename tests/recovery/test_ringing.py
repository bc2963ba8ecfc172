"""How often a sweep rings: what nobody hears later and later, and soon again what somebody has claimed meanwhile."""

from collections import Counter
from itertools import chain, repeat

import pytest

from sagaworker.episodes import HostPlace
from tests.recovery.abandoned import another, execute

TICK = 30  # seconds from one sweep to the next
HOUR = 3600 // TICK


@pytest.fixture
def swept(engine):
    """Let so many ticks pass, with a sweep at each; how often each saga was rung. The broker takes bells, nobody hears."""
    bells = []
    with another(engine, bells, sweep_interval=TICK / 2) as sweeper:  # the first wait for a ring is one tick

        def passes(ticks: int) -> Counter[str]:
            bells.clear()
            for _ in range(ticks):
                execute(engine, "UPDATE saga_runs SET wake_at = wake_at - make_interval(secs => %s)", TICK)
                sweeper.sweep()
            return Counter(bells)

        passes.engine = sweeper
        yield passes


def test_a_backlog_that_nobody_hears_is_rung_ever_more_rarely_and_never_forgotten(swept):
    runs = swept.engine.start_many([{"kind": "t", "steps": ["steps.echo"]} for _ in range(20)])
    rung = swept(HOUR)
    # Each wait is twice the one before, up to five minutes; a quarter more or less. Waits of one tick would make 60 rings.
    most = 5 + 3600 // (0.75 * 300)
    least = 3600 // (1.25 * 300 + TICK)
    assert all(least <= rung[run.id] <= most for run in runs), rung


def test_what_was_rung_in_vain_and_then_claimed_is_rung_soon_again(swept):
    run = swept.engine.start("t", ["steps.echo"])
    assert swept(HOUR)[run.id] > 5
    stops = chain([False], repeat(True))
    end = swept.engine.run_episode(run.id, place=HostPlace(), should_stop=stops.__next__)
    assert end.outcome == "yielded"
    # The bell of the polite stop is lost, and so is the next one.
    assert swept(3)[run.id] >= 2
