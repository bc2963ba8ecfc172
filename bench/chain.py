"""The app of the Celery chains to which the sagas are compared, built as in Celery's documentation.

`celery -A bench.chain worker -c 2`, Redis broker, Redis result backend, JSON, all other settings Celery's default.
"""

from __future__ import annotations

import os

from celery import Celery, chain
from celery.canvas import Signature

app = Celery("bench_chain", broker=os.environ.get("BENCH_BROKER_URL"), backend=os.environ.get("BENCH_BACKEND_URL"))
app.conf.broker_connection_retry_on_startup = True


@app.task(name="bench.echo")
def echo(previous: int, step: int) -> int:
    """The trivial task: its result goes to the next task."""
    return previous + step


def of(steps: int) -> Signature:
    """A chain of so many trivial tasks."""
    return chain(echo.s(0, 0), *(echo.s(step) for step in range(1, steps)))
