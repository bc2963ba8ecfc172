"""DBOS: a workflow of trivial `@DBOS.step` functions, called directly, as in its quickstart.

Run in the environment of peers.txt: `python -m bench.dbos_peer URL`. All settings are defaults but the log level: below
WARNING DBOS writes a line a workflow. Workflows are called, not enqueued: that path has the fewest round trips.
"""

from __future__ import annotations

import sys
import time
from importlib.metadata import version

from dbos import DBOS, DBOSConfig

from bench.peer_lines import Answer, serve


@DBOS.step()
def echo(step: int) -> dict[str, int]:
    """The trivial step."""
    return {f"echo_{step}": step}


@DBOS.workflow()
def saga(steps: int) -> int:
    """`steps` steps, one after the other."""
    for step in range(steps):
        echo(step)
    return steps


def run(sagas: int, steps: int) -> Answer:
    """Seconds for so many workflows: each call starts one durably and walks it to its end."""
    began = time.perf_counter()
    for _ in range(sagas):
        saga(steps)
    return {"start_and_run": time.perf_counter() - began}


def main(url: str) -> None:
    """Launch DBOS on the given database (its own, empty) and serve."""
    config: DBOSConfig = {"name": "bench", "system_database_url": url, "log_level": "WARNING"}
    DBOS(config=config)
    DBOS.launch()
    try:
        serve({"version": version("dbos")}, run)
    finally:
        DBOS.destroy()


if __name__ == "__main__":
    main(sys.argv[1])
