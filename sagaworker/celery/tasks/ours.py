"""What Celery lets a host set on a task, as our tasks have it.

Celery fills what a task leaves open from the app's configuration (`Task.from_config`) and then from its annotations. Ours
leave nothing open: a saga's time, tries and acknowledgement are the ledger's business.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from celery import Celery, Task

from sagaworker.celery import naming

# Attributes that must stay empty, or would be filled from the app's configuration: set again after Celery has bound us.
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
    """Move the worker's time limits from its pool, where they hold for every task, to the tasks that are not ours."""
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
    """The annotations of the app that name a task of ours, which have no effect, with what each would set."""
    given = app.conf.task_annotations or ()
    for one in given if isinstance(given, (list, tuple)) else (given,):
        if isinstance(one, dict):
            for name, values in one.items():
                if name != "*" and is_ours(str(name)) and isinstance(values, dict):
                    yield name, sorted(values)


def settle(task: type[Task]) -> None:
    """After Celery has bound a task of ours: empty what it may have filled from the app's configuration."""
    for name in EMPTY:
        setattr(task, name, None)
