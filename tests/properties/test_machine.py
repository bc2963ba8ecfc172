"""Random lives of sagas: whatever happens in whatever order, the ledger is sound, the world agrees, and all ends."""

import os

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.properties.machine import Machine

# short: part of `make test`, the same lives every time. long: others every time. quick: as short, without shrinking.
PROFILE = os.environ.get("SAGAWORKER_PROPERTIES", "short")
EXAMPLES = {"short": 20, "quick": 30, "long": 1500}


def test_the_ledger_is_sound_and_the_world_agrees_whatever_happens(database_url):
    machine = type("Lives", (Machine,), {"database_url": database_url})
    run_state_machine_as_test(
        machine,
        settings=settings(
            derandomize=PROFILE != "long",
            max_examples=EXAMPLES[PROFILE],
            stateful_step_count=25,
            deadline=None,
            database=None,
            report_multiple_bugs=False,
            phases=[Phase.generate] if PROFILE == "quick" else [Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )
