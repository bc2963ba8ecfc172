"""A process that runs a step in a child of its own and kills that child at the n-th exchange with the server.

    python -m tests.tenants.killed

Reads one JSON object a line: step, member, state, point. Points are numbered from 0, two for each statement that does
something: while it is with the server, and when its answer is there. Null never kills. Answers "killed", "finished" or
the error. A child by fork, because an interpreter for each of some hundred points would take a minute; in a process of
its own, because pytest has threads.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

from sagaworker import SagaState
from tests.tenants.sagas import Saga, member


class Killer:
    """Talks to such a process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, saga: Saga, step: str, point: int | None, *, undo: str | None = None) -> bool:
        """Run the step, or its undo after outcome `undo`, in a child that is killed at this point.

        Returns whether it was killed: False when the step came to its end before that point.
        """
        request = {
            "step": step, "member": "compensate" if undo else "execute", "point": point,
            "state": saga.arguments(step, undo),
        }  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert answer in {"killed", "finished"}, answer
        return bool(answer == "killed")


@contextmanager
def killer() -> Iterator[Killer]:
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.tenants.killed"],
        cwd=root,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        yield Killer(process)
        assert process.stdin is not None
        process.stdin.close()


def _arm(point: int) -> None:
    """Every exchange of psycopg with the server goes through Connection.wait, BEGIN and COMMIT too."""
    exchange, execute = psycopg.Connection.wait, psycopg.Cursor.execute
    numbers = count()
    reading = False

    def noted(self: Any, query: Any, *args: Any, **options: Any) -> Any:
        nonlocal reading
        reading = isinstance(query, str) and query.startswith("SELECT") and not re.search("pg_terminate|_lock", query)
        try:
            return execute(self, query, *args, **options)
        finally:
            reading = False

    def wait(self: Any, gen: Any, *args: Any, **options: Any) -> Any:
        if reading:
            # To die around a mere look is to die after the write before it.
            return exchange(self, gen, *args, **options)
        if next(numbers) == point:
            next(gen, None)  # Returns when the statement is sent and there is only the answer to wait for.
            os.kill(os.getpid(), signal.SIGKILL)
        answer = exchange(self, gen, *args, **options)
        if next(numbers) == point:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    psycopg.Connection.wait = wait  # type: ignore[method-assign]  # the kill comes from inside the driver
    psycopg.Cursor.execute = noted  # type: ignore[method-assign]  # and skips what only reads


def _child(request: dict[str, Any], errors: int) -> None:
    try:
        if request["point"] is not None:
            _arm(request["point"])
        act = member(request["step"], request["member"])
        assert act is not None
        act(SagaState(**request["state"]))
    except BaseException as problem:
        os.write(errors, f"{type(problem).__name__}: {problem}".encode()[:4000])
        os._exit(1)
    os._exit(0)


def _serve() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            _child(request, writing)
        os.close(writing)
        with os.fdopen(reading) as errors:
            error = errors.read()
        _, status = os.waitpid(child, 0)
        ended = "killed" if os.WIFSIGNALED(status) else "finished" if status == 0 else error
        sys.stdout.write(json.dumps(ended) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
