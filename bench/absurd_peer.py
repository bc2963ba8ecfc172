"""absurd: tasks of trivial steps, spawned, then run by `start_worker` with its defaults.

Run in the environment of peers.txt: `python -m bench.absurd_peer URL`. The schema is the text bundled in absurdctl, which
`absurdctl init` sends through psql. Here psycopg sends the text, so that no psql is needed.
"""

from __future__ import annotations

import sys
import time
from importlib.metadata import version

import psycopg
from absurd_sdk import Absurd, TaskContext
from absurdctl import BUNDLED_SCHEMA_SQL

from bench.peer_lines import Answer, serve


class Tasks:
    """One client on one connection; the worker stops when the last spawned task has begun its return."""

    def __init__(self, url: str) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(BUNDLED_SCHEMA_SQL)
        self.app = Absurd(url)
        self.app.create_queue()
        self.app.register_task(name="saga")(self.saga)
        self.left = 0

    def saga(self, params: dict[str, int], ctx: TaskContext) -> dict[str, int]:
        """`steps` steps, one after the other."""
        for step in range(params["steps"]):
            ctx.step(f"echo-{step}", lambda step=step: {f"echo_{step}": step})
        self.left -= 1
        if self.left == 0:
            self.app.stop_worker()
        return {"steps": params["steps"]}

    def run(self, sagas: int, steps: int) -> Answer:
        """Seconds to spawn so many tasks, and to run them all."""
        self.left = sagas
        began = time.perf_counter()
        for _ in range(sagas):
            self.app.spawn("saga", {"steps": steps})
        spawned = time.perf_counter()
        self.app.start_worker()
        ended = time.perf_counter()
        return {"start_and_run": ended - began, "run": ended - spawned}


if __name__ == "__main__":
    serve({"version": version("absurd-sdk")}, Tasks(sys.argv[1]).run)
