"""A ten-step saga through a real Celery worker against a Celery chain of ten tasks, end to end, on the same machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from tempfile import TemporaryFile

import psycopg
import redis
from celery import Celery

from bench import chain
from bench.ours import TRIVIAL, opened
from bench.peers import ROOT
from bench.report import Report, Target, of_rounds
from bench.server import Server, say

SECTION = "a saga of ten steps through a Celery worker (prefork -c 2) against a chain of ten tasks"
STEPS = 10
GIVE_UP = 120.0


class Chains:
    """Chains of ten trivial tasks with a Redis result backend, sent one by one."""

    def __init__(self, broker: str, backend: str) -> None:
        chain.app.conf.update(broker_url=broker, result_backend=backend)
        self._redis = redis.Redis.from_url(backend)

    def send(self, count: int) -> Callable[[], int]:
        """Send so many chains; the returned function counts the chains whose last result is stored."""
        keys = [chain.app.backend.get_key_for_task(chain.of(STEPS).apply_async().id) for _ in range(count)]
        return lambda: int(self._redis.exists(*keys))


class Sagas:
    """Sagas of ten trivial steps: the client calls `engine.start` for each, which commits and then rings."""

    def __init__(self, url: str, broker: str) -> None:
        self._engine = opened(url, broker_url=broker)
        self._reader = psycopg.connect(url, autocommit=True)

    def send(self, count: int) -> Callable[[], int]:
        """Start so many sagas; the returned function counts the sagas that are completed in the ledger."""
        ids = [str(self._engine.start("bench", [TRIVIAL] * STEPS).id) for _ in range(count)]
        query = "SELECT count(*) FROM saga_runs WHERE id = ANY(%s::uuid[]) AND status = 'completed'"

        def completed() -> int:
            row = self._reader.execute(query, (ids,)).fetchone()
            return int(row[0]) if row else 0

        return completed

    def close(self) -> None:
        """Close engine and reader."""
        self._reader.close()
        self._engine.close()


def measure(server: Server, report: Report, *, rounds: int, batch: int, alone: int) -> None:
    """Measure the two in turns. Both workers stay up, one idle while the other is measured."""
    chain_broker, backend, saga_broker = server.broker(1), server.broker(2), server.broker(3)
    url = server.database("bench_celery")
    sagas, chains = Sagas(url, saga_broker), Chains(chain_broker, backend)
    saga_env = {
        "SAGAWORKER_DATABASE_URL": url,
        "SAGAWORKER_BROKER_URL": saga_broker,
        "SAGAWORKER_STEP_PACKAGES": "bench.steps",
    }
    chain_env = {"BENCH_BROKER_URL": chain_broker, "BENCH_BACKEND_URL": backend}
    with _worker("bench.chain", chain_env), _worker("sagaworker.celery_app", saga_env):
        for send in (chains.send, sagas.send):
            _drained(send, 50, poll=0.02)
        server.settle("bench_celery")
        rates: dict[str, list[float]] = {"chain": [], "saga": []}
        latencies: dict[str, list[float]] = {"chain": [], "saga": []}
        for number in range(rounds):
            say(f"through Celery, round {number + 1} of {rounds}")
            for name, send in (("chain", chains.send), ("saga", sagas.send)):
                rates[name].append(batch / _drained(send, batch, poll=0.02))
                latencies[name] += [_drained(send, 1, poll=0.0005) * 1000 for _ in range(alone)]
    sagas.close()
    report.add(
        [
            of_rounds(SECTION, f"chains a second, {batch} sent at once", rates["chain"], ""),
            of_rounds(SECTION, f"sagas a second, {batch} sent at once", rates["saga"], ""),
            of_rounds(
                SECTION, "sagas / chains", _ratios(rates["saga"], rates["chain"]), "×", target=Target("at least", 3)
            ),
            of_rounds(SECTION, "one chain alone, sent to last result", latencies["chain"], "ms"),
            of_rounds(SECTION, "one saga alone, start to completed", latencies["saga"], "ms"),
        ]
    )


def _ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(above, below, strict=True)]


def _drained(send: Callable[[int], Callable[[], int]], count: int, *, poll: float) -> float:
    """Seconds from the first one sent to the last one done, exact to `poll`."""
    began = time.perf_counter()
    done = send(count)
    while done() < count:
        if time.perf_counter() - began > GIVE_UP:
            message = f"all of {count} must be done within {GIVE_UP:g} s, got {done()}"
            raise RuntimeError(message)
        time.sleep(poll)
    return time.perf_counter() - began


@contextmanager
def _worker(app: str, env: dict[str, str]) -> Iterator[None]:
    """A worker of two prefork children, ready when it answers a ping; warm stop on the way out."""
    command = [sys.executable, "-m", "celery", "-A", app, "worker", "-P", "prefork", "-c", "2", "-l", "WARNING"]
    broker = env.get("BENCH_BROKER_URL") or env["SAGAWORKER_BROKER_URL"]
    with TemporaryFile() as log:
        process = subprocess.Popen(
            command, env={**os.environ, **env}, cwd=ROOT, stdout=log, stderr=log, start_new_session=True
        )
        try:
            _await_ping(Celery(broker=broker), process)
            yield
        except BaseException:
            log.seek(0)
            sys.stderr.write(log.read().decode(errors="replace")[-4000:])
            raise
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await_ping(app: Celery, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while not app.control.ping(timeout=0.5):
        if process.poll() is not None or time.monotonic() > deadline:
            message = f"the worker must answer a ping within 30 s, got exit status {process.poll()}"
            raise RuntimeError(message)
