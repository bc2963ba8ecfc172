"""Where user code runs: its ends come when they should, and never inside ledger code."""

import subprocess
import sys
import time

from sagaworker import StepTimedOut
from sagaworker.episodes import ChildPlace, HostPlace
from tests.waiting import PATIENCE

HANGS = """
import threading
import time
from sagaworker.episodes import ChildPlace
place = ChildPlace()
with place.entered():
    for _ in range(50):
        place.arm({seconds}, slack=0.1)
    print("armed", flush=True)
    {end}
    threading.Event().wait()
"""


def ended(seconds, end):
    program = HANGS.format(seconds=seconds, end=end)
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def test_the_hard_end_needs_no_gil_and_says_where_the_step_hung():
    done = ended(2, "")
    assert done.returncode == 1
    assert "Timeout" in done.stderr
    assert 'File "<string>", line 11 in <module>' in done.stderr


def test_a_watcher_that_was_disarmed_ends_nothing():
    # Of what must not come there is nothing to wait for but the time at which it would.
    assert ended(2, "place.disarm(); import sys; time.sleep(2.5); sys.exit(7)").returncode == 7


def test_a_soft_end_that_comes_at_the_very_end_of_a_step_is_caught_or_too_late_and_nothing_else():
    place = HostPlace()
    kinds = set()
    with place.entered():
        for n in range(300_000):
            if n >= 3000 and len(kinds) == 2:
                break
            until = time.perf_counter() + 0.0004

            def step(until=until):
                while time.perf_counter() < until:
                    pass
                return "done"

            done = place.call(step, 0.0004 + (n % 7 - 3) * 0.00001)
            kinds.add(type(done.exception))
            assert (done.exception is None) == (done.result == "done")
    assert kinds <= {type(None), StepTimedOut}
    assert len(kinds) == 2, "both ends must have been met"


def test_arming_again_and_again_is_cheap():
    place = ChildPlace()
    place.arm(30, slack=1)
    began = place._ends_at
    for _ in range(100):
        place.arm(30, slack=1)
    assert place._ends_at == began
    place.arm(10, slack=1)
    assert place._ends_at < began
    place.disarm()
