"""The measured engine: run in the caller's process, as `engine.run` does for any user."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import psycopg
import redis

from bench.report import Report, Target, of_rounds
from bench.server import Server, say
from bench.steps import large
from sagaworker.domain.records import Doorbell
from sagaworker.doorbell.publisher import Doorbells
from sagaworker.engine import Engine
from sagaworker.ledger.migrate import migrate
from sagaworker.settings import Settings

TRIVIAL = "bench.steps.trivial"
MANY = 10_000
LONG = 1_000


def opened(url: str, **settings: Any) -> Engine:
    """Migrate an empty database and open an engine on it; settings are the defaults, except the given ones."""
    migrate(url)
    return Engine.from_env(database_url=url, step_packages="bench.steps", **settings)


class Ours:
    """The engine on a database of its own. A saga of the steps is started, then walked: claim, steps, completed."""

    name = "ours"

    def __init__(self, url: str) -> None:
        self._engine = opened(url)

    def measure(self, sagas: int, steps: int) -> dict[str, float]:
        """Seconds to start so many sagas and walk them all to their end, and of the walking alone."""
        modules = [TRIVIAL] * steps
        began = time.perf_counter()
        runs = [self._engine.start("bench", modules) for _ in range(sagas)]
        started = time.perf_counter()
        for run in runs:
            ended_as = self._engine.run(run).status
            must_equal(f"status of saga {run.id}", ended_as, "completed")
        ended = time.perf_counter()
        return {"start_and_run": ended - began, "run": ended - started}

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()


def measure_long_saga(server: Server, report: Report, *, sagas: int) -> None:
    """Whether step 1,000 of one saga costs the same as step 1.

    The harder case: every step puts out 5 kB under a new name, so nothing can be saved by overwriting. The context of
    the last step is 5 MB; the limit on the context, 1 MB by default, is raised for that.
    """
    section = "one saga of 1,000 steps, 5 kB of output each under its own name"
    engine = opened(server.database("bench_long"), max_context_bytes=64 * 1024 * 1024)
    early: list[float] = []
    late: list[float] = []
    for number in range(sagas + 1):
        say(f"{LONG:,} steps, saga {number} of {sagas}" if number else f"{LONG:,} steps, warming up")
        large.entered.clear()
        run = engine.start("bench", ["bench.steps.large"] * LONG)
        must_equal(f"status of saga {run.id}", engine.run(run.id).status, "completed")
        must_equal("steps entered", len(large.entered), LONG)
        gaps = [(after - before) * 1000 for before, after in zip(large.entered, large.entered[1:], strict=False)]
        if number:
            early.append(median(gaps[4:55]))
            late.append(median(gaps[949:]))
    engine.close()
    ratios = [b / a for a, b in zip(early, late, strict=True)]
    report.add(
        [
            of_rounds(section, "steps 5-55, a step", early, "ms"),
            of_rounds(section, "steps 950-1,000, a step", late, "ms"),
            of_rounds(section, "late / early", ratios, "×", target=Target("at most", 1.2)),
        ]
    )


def measure_start_many(server: Server, report: Report, *, rounds: int) -> None:
    """How many sagas a second one call of start_many makes durable, and how many doorbells a second are rung."""
    section = f"start_many of {MANY:,} sagas in one call"
    url = server.database("bench_many")
    migrate(url)
    settings = Settings.from_env(database_url=url, broker_url=server.broker(4), step_packages="bench.steps")
    ring = Doorbells.from_settings(settings).ring
    bells: list[tuple[float, int]] = []

    def timed(doorbells: Sequence[Doorbell]) -> None:
        began = time.perf_counter()
        ring(doorbells)
        bells.append((time.perf_counter() - began, len(doorbells)))

    engine = Engine(settings, ring=timed)
    broker = redis.Redis.from_url(server.broker(4))
    started: list[float] = []
    rung: list[float] = []
    requests = [{"kind": "bench", "steps": [TRIVIAL], "inputs": {"number": number}} for number in range(MANY)]
    for number in range(rounds):
        say(f"start_many, round {number + 1} of {rounds}")
        bells.clear()
        broker.flushdb()
        began = time.perf_counter()
        runs = engine.start_many(requests)
        whole = time.perf_counter() - began
        # Ringing is best effort and hides its failures: a rate counts only if the messages are really there.
        must_equal("sagas in the ledger", _count_runs(url), MANY * (number + 1))
        must_equal("doorbells in the queue", broker.llen(Settings().queue), MANY)
        ringing = sum(seconds for seconds, _ in bells)
        started.append(len(runs) / (whole - ringing))
        rung.append(sum(count for _, count in bells) / ringing)
    engine.close()
    broker.close()
    report.add(
        [
            of_rounds(section, "sagas durable a second", started, "", target=Target("at least", 10_000)),
            of_rounds(section, "doorbells rung a second", rung, "", target=Target("at least", 5_000)),
        ]
    )


def _count_runs(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM saga_runs").fetchone()
    return int(row[0]) if row else 0


def must_equal(what: str, found: object, wanted: object) -> None:
    """Refuse a figure that was not earned."""
    if found != wanted:
        message = f"{what} must be {wanted}, got {found}"
        raise RuntimeError(message)
