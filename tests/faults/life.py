"""One life of one worker process: it starts the saga where that is not done, buries who died, and walks."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path

from sagaworker.engine import Engine
from sagaworker.episodes import ChildPlace, episode
from sagaworker.failpoints import Failpoints, parsed
from sagaworker.settings import Settings
from tests.faults import steps
from tests.faults.cases import STEPS, WORKS, Case
from tests.faults.person import act
from tests.waiting import wait_until

LEASE = 0.6
PAUSE = 2.5 * LEASE
KIND = "faults"
WORKERS = ("Acts", "Acts", "Tombstoned", "Acts")
BUSY = {"asked": "Asked", "person": "Person", "skipper": "Skipper", "halted": "Halted", "given_up": "GivenUp"}
episode.PARK_FROM = 0.2  # so that parking costs a case no five seconds


@dataclass(frozen=True, slots=True)
class Life:
    """Who lives: `dead` are the owners whose end somebody saw."""

    case: Case
    folder: Path
    settings: Settings
    dead: tuple[str, ...]
    until: float


def live(life: Life) -> int:
    """Until the saga is over: 0. What a worker or client would log and survive is survived here."""
    logging.disable()
    failpoints = Failpoints(parsed(life.case.text), life.folder, PAUSE)
    with Engine(life.settings, failpoints=failpoints) as engine:
        steps.ENGINE[:] = [engine]
        steps.STOP.clear()
        (life.folder / f"owner-{os.getpid()}").write_text(engine.owner)
        _only_own(engine, life)
        to_bury = set(life.dead)

        def is_over() -> bool:
            with contextlib.suppress(Exception):
                return _is_over(engine, life, to_bury)
            return False

        try:
            wait_until(is_over, timeout=life.until - time.monotonic(), every=0.1)
        except AssertionError:
            return 1
    return 0


def _is_over(engine: Engine, life: Life, to_bury: set[str]) -> bool:
    case, paths = life.case, _paths(life.case)
    inputs = {"busy": case.busy, "ending": case.ending, "folder": str(life.folder), "paths": paths}
    run = engine.start(
        KIND,
        paths,
        inputs=inputs,
        key=life.folder.name,
        recovery_policy="fail" if case.story == "given_up" else None,
        on_compensation_failure="halt" if case.story == "halted" else "continue",
    )
    (life.folder / "saga").write_text(run.id)
    for owner in sorted(to_bury):
        engine.take_over_dead(owner)
        to_bury.discard(owner)
    engine.run_episode(run.id, place=ChildPlace(), should_stop=steps.STOP.is_set)
    steps.STOP.clear()
    if not act(engine, run.id, case):
        return True
    engine.sweep()
    return False


def _paths(case: Case) -> list[str]:
    names = list(WORKERS) if case.story == WORKS else ["Told"] * STEPS
    if case.story != WORKS:
        names[case.busy] = BUSY[case.story]
    return [f"tests.faults.steps:{name}" for name in names]


def _only_own(engine: Engine, life: Life) -> None:
    """Each case sweeps its own orphan only, so that its faults meet its own saga."""
    sweeping = engine.recovery._sweeping
    everybody = sweeping.expired

    def own(scope, **asked):
        saga = life.folder / "saga"
        return everybody(scope, **asked | {"saga_id": saga.read_text()}) if saga.exists() else []

    sweeping.expired = own
