"""A client: starts its share of the sagas at a steady rate, cancels some, and logs each acknowledgement.

A client may be killed at any time; the next one reads the log and goes on. Keys make a repeated start harmless.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from chaos.plan import KIND, STEPS, Size, planned
from sagaworker import Engine
from sagaworker.domain.records import Doorbell
from sagaworker.doorbell.publisher import Doorbells
from sagaworker.errors import SagaworkerError


class Client:
    """One of `of` clients. The log is a line of JSON for each acknowledgement."""

    def __init__(self, log: Path, *, seed: int, size: Size, opens_at: float) -> None:
        self._log = log
        self._seed = seed
        self._size = size
        self._opens_at = opens_at
        self._engine = Engine.from_env()
        self._doorbells = Doorbells.from_settings(self._engine.settings)
        self._known = acknowledged([log])

    def run(self, number: int, of: int) -> None:
        """Run until this client's share of sagas is started and the planned cancels were asked for."""
        due: list[tuple[float, int, str]] = []  # at, number, saga to cancel or "" to start
        for i in range(number, self._size.sagas, of):
            starts_at = self._opens_at + i * self._size.window / self._size.sagas
            saga_id = self._known.ids.get(i, "")
            if not saga_id:
                due.append((starts_at, i, ""))
                continue
            plan = planned(self._seed, i, self._size)
            if plan.is_doubled and saga_id not in self._known.doubled:
                self._ring_again(saga_id, i)
            if plan.cancel_after is not None and saga_id not in self._known.cancels:
                due.append((starts_at, i, saga_id))
        heapq.heapify(due)
        while due:
            at, i, saga_id = heapq.heappop(due)
            time.sleep(max(0.0, at - time.time()))
            plan = planned(self._seed, i, self._size)
            if saga_id:
                answer = _insisted(partial(self._engine.cancel, saga_id, "chaos"))
                self._acknowledged(cancel=saga_id, answer=answer)
                continue
            run = _insisted(partial(self._engine.start, KIND, plan.steps, key=str(i)))
            self._acknowledged(number=i, id=run.id)
            if plan.cancel_after is not None:
                heapq.heappush(due, (time.time() + plan.cancel_after, i, run.id))
            if plan.is_doubled:
                self._ring_again(run.id, i)

    def _ring_again(self, saga_id: str, number: int) -> None:
        """Send an extra doorbell, even if the saga is over; `Engine.ring` would send none then."""
        bell = Doorbell(saga_id=saga_id, kind=KIND, key=str(number), step_idx=0, step_count=STEPS)
        _insisted(partial(self._doorbells.ring, [bell]))
        self._acknowledged(doubled=saga_id)

    def _acknowledged(self, **line: Any) -> None:
        fd = os.open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(fd, json.dumps(line | {"at": time.time()}).encode() + b"\n")
            os.fsync(fd)
        finally:
            os.close(fd)


class Known:
    """The answers that clients got: ids by number, answers to cancels by saga, and the sagas whose bells were doubled."""

    def __init__(self) -> None:
        self.ids: dict[int, str] = {}
        self.cancels: dict[str, str] = {}
        self.doubled: set[str] = set()


def acknowledged(logs: list[Path]) -> Known:
    """Read the clients' logs."""
    known = Known()
    for log in logs:
        for text in log.read_text().splitlines() if log.exists() else ():
            line = json.loads(text)
            if "id" in line:
                known.ids[line["number"]] = line["id"]
            elif "cancel" in line:
                known.cancels[line["cancel"]] = line["answer"]
            else:
                known.doubled.add(line["doubled"])
    return known


def _insisted(call: Callable[[], Any]) -> Any:
    """Call until there is an answer: ask again while the database is away. A refusal is a fault of this program."""
    while True:
        try:
            return call()
        except SagaworkerError:
            raise
        except Exception as exc:  # noqa: BLE001 - any error of the driver while everything is being killed
            print(f"asked again: {type(exc).__name__}", flush=True)  # noqa: T201 - its log
            time.sleep(0.2)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m chaos.load")
    parser.add_argument("log", type=Path)
    parser.add_argument("--number", type=int, required=True)
    parser.add_argument("--of", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--opens-at", type=float, required=True)
    parser.add_argument("--sagas", type=int, required=True)
    parser.add_argument("--doubled", type=int, required=True)
    parser.add_argument("--window", type=float, required=True)
    asked = parser.parse_args()
    size = Size(sagas=asked.sagas, doubled=asked.doubled, window=asked.window, calm=0, faults={})
    client = Client(asked.log, seed=asked.seed, size=size, opens_at=asked.opens_at)
    client.run(asked.number, asked.of)
    # Do not exit: the supervisor would start this program again.
    while True:
        time.sleep(60)


if __name__ == "__main__":
    main()
