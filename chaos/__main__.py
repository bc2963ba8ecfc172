"""`python -m chaos`: a run under every fault, judged. Exit status 0 if the run passed, 1 if it failed, 2 if it is void."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
from rich.console import Console

from chaos import oracle, plan
from chaos.alive import Alive
from chaos.faults import Faults
from chaos.judging import Verdict, verdict
from chaos.load import acknowledged
from chaos.report import Criterion, Report
from chaos.stage import Stage

_ACTIVE = "SELECT count(*) FROM saga_runs WHERE status IN ('pending', 'running', 'compensating')"
_TAKEN = "SELECT count(*) FROM saga_episodes WHERE outcome IN ('orphaned', 'died')"
LONGEST = 600  # seconds, on two cores
MISSED_SECONDS = 30.0  # for the faults that found no victim in the window
console = Console(highlight=False)


def main() -> int:
    asked = _options()
    size = plan.SHORT if asked.short else plan.FULL.scaled(asked.scale)
    began = time.monotonic()
    forged = oracle.self_test()
    stage = Stage(asked.folder)
    try:
        with stage:
            stage.wait_until_up()
            _say(f"up; {size.calm} sagas without faults")
            spurious = _calm(stage, size)
            _say(f"{size.sagas} sagas in {size.window:g} s, {sum(size.faults.values())} faults, seed {asked.seed}")
            stage.start_clients(size, seed=asked.seed, opens_at=time.time() + 1)
            faults = Faults(stage, asked.seed)
            with Alive(faults.pools) as alive:
                _hurt(faults, asked.seed, size)
                _say("the last fault is over; waiting for the backlog")
                with faults.healed():
                    backlog = _backlog(stage, faults, size)
            stage.clients.stop()
            _say("judging")
            found = verdict(
                stage,
                faults,
                alive.looks,
                seed=asked.seed,
                forged=forged,
                spurious=spurious,
                backlog=backlog,
            )
        report = _report(asked.seed, size, faults, found, time.monotonic() - began)
    finally:
        if not asked.keep:
            stage.clean()
    report.show(console)
    report.write(asked.json)
    _say(f"written: {asked.json}")
    if asked.keep:
        _say(f"kept: {stage.folder}")
    return {"passed": 0, "failed": 1, "void": 2}[report.verdict]


def _calm(stage: Stage, size: plan.Size) -> int:
    """Run sagas without any fault; return how many were taken over all the same."""
    steps = plan.planned(0, 0, size).steps
    for step in steps:
        step["params"].pop("then", None)
    stage.engine.start_many([{"kind": "calm", "steps": steps} for _ in range(size.calm)])
    if not _wait(lambda: _count(stage, _ACTIVE) == 0, 60):
        raise RuntimeError(f"sagas without faults must end within 60 s, see {stage.folder}/log")
    return _count(stage, _TAKEN)


def _hurt(faults: Faults, seed: int, size: plan.Size) -> None:
    """Follow the schedule, then repeat the faults that found no victim."""
    opened = time.monotonic()
    under_way = []
    for due in plan.schedule(seed, size):
        time.sleep(max(0.0, opened + due.at - time.monotonic()))
        under_way.append(faults.act(due.fault))
    time.sleep(max(0.0, opened + size.window - time.monotonic()))
    for one in under_way:
        one.result()
    until = time.monotonic() + MISSED_SECONDS
    while (missing := _missing(faults, size)) and time.monotonic() < until:
        for again in [faults.act(fault) for fault in missing[:4]]:
            again.result()
    faults.close()


def _missing(faults: Faults, size: plan.Size) -> list[str]:
    return [name for name, count in size.faults.items() for _ in range(count - faults.fired[name])]


def _backlog(stage: Stage, faults: Faults, size: plan.Size) -> float | None:
    """Seconds from the last fault until all sagas were over; None when that took too long."""

    def is_done() -> bool:
        return len(acknowledged(stage.client_logs).ids) >= size.sagas and _count(stage, _ACTIVE) == 0

    is_over = _wait(is_done, 60 - (time.time() - faults.last_at))
    return round(time.time() - faults.last_at, 1) if is_over else None


def _report(seed: int, size: plan.Size, faults: Faults, found: Verdict, seconds: float) -> Report:
    missing = _missing(faults, size)
    wanted = {**size.faults, "doubled doorbell": size.doubled}
    doubled = found.figures["doubled doorbells"]
    has_fired = Criterion("faults that did not fire their minimum", missing, "none", not missing, is_void=True)
    has_rung = Criterion("doubled doorbells", doubled, f">= {size.doubled}", doubled >= size.doubled, is_void=True)
    in_hold, kills = found.figures["kills that hit a hold, of all kills"]
    half = Criterion("kills that hit a hold", f"{in_hold} of {kills}", ">= half", 2 * in_hold >= kills, is_void=True)
    in_time = Criterion("the whole run, s", round(seconds), f"<= {LONGEST}", seconds <= LONGEST)
    return Report(
        seed=seed,
        seconds=seconds,
        criteria=[has_fired, has_rung, half, *found.criteria, in_time],
        fired={**faults.fired, "doubled doorbell": doubled},
        wanted=wanted,
        figures=found.figures,
        breaches=found.breaches,
    )


def _count(stage: Stage, query: str) -> int:
    with psycopg.connect(stage.postgres.url, autocommit=True) as connection:
        row = connection.execute(query.encode()).fetchone()
        return int(row[0]) if row else 0


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.25)
    return True


def _say(what: str) -> None:
    console.print(f"[dim]{time.strftime('%H:%M:%S')}[/] {what}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--short", action="store_true", help="400 sagas in a minute")
    parser.add_argument("--scale", type=float, default=1.0, help="a slice of the whole run at its rates, such as 0.1")
    parser.add_argument("--json", type=Path, default=Path("chaos.json"), help="where the report is written")
    parser.add_argument("--folder", type=Path, help="where the servers' data, the world and the log are")
    parser.add_argument("--keep", action="store_true", help="leave that folder behind")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
