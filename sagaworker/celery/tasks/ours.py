"""Our tasks' values for everything that Celery lets a host set on a task.

Celery fills the open values of a task from the app's configuration (`Task.from_config`) and then from its annotations.
Our tasks leave no value open: the ledger decides on a saga's time, tries and acknowledgement.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from celery import Celery, Task

from sagaworker.celery import naming

# Attributes that must stay empty. Celery fills them from the app's configuration, so they are emptied after binding.
EMPTY = ("rate_limit", "priority", "time_limit", "soft_time_limit", "expires", "compression", "delivery_mode")
FIXED: dict[str, Any] = {
    "serializer": "json",
    "typing": True,
    "max_retries": 0,
    "autoretry_for": (),
    "track_started": False,
    # The doorbell is single attempt: acknowledged when it is taken, never delivered again by the broker.
    "acks_late": False,
    "acks_on_failure_or_timeout": True,
    "acks_on_failure": True,
    "acks_on_timeout": True,
    "reject_on_worker_lost": False,
    "retry_on_worker_lost": False,
    "store_eager_result": False,
    "store_errors_even_if_ignored": False,
    "send_events": True,
}


def without_limits_of_the_pool(worker: Any) -> None:
    """Move the worker's time limits from its pool, where they hold for every task, to all tasks but ours."""
    options = getattr(worker.pool, "options", None)
    if options is None:
        return
    hard, soft = options.get("timeout"), options.get("soft_timeout")
    options["timeout"] = options["soft_timeout"] = None
    for name, task in worker.app.tasks.items():
        if not is_ours(name):
            task.time_limit = task.time_limit or hard
            task.soft_time_limit = task.soft_time_limit or soft


def is_ours(name: str) -> bool:
    """Whether a task of this name is one of sagaworker's."""
    return name.startswith(f"{naming.RUN_SAGA.partition('.')[0]}.")


def annotated(app: Celery) -> Iterator[tuple[str, list[str]]]:
    """The app's annotations that name a task of ours, with the values each would set. They have no effect."""
    given = app.conf.task_annotations or ()
    for one in given if isinstance(given, (list, tuple)) else (given,):
        if isinstance(one, dict):
            for name, values in one.items():
                if name != "*" and is_ours(str(name)) and isinstance(values, dict):
                    yield name, sorted(values)


def settle(task: type[Task]) -> None:
    """Empty the attributes that Celery, on binding our task, may have filled from the app's configuration."""
    for name in EMPTY:
        setattr(task, name, None)
