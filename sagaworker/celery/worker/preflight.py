"""Checks before a worker begins: refuse a worker that could not serve, and warn of unwise settings."""

from __future__ import annotations

import inspect
import logging
from typing import Any
from urllib.parse import urlsplit

from celery import Celery
from click import ClickException

from sagaworker.celery.tasks import ours
from sagaworker.engine import Engine
from sagaworker.errors import SchemaMismatch
from sagaworker.ledger.outage import OUTAGE, REFUSAL, reason
from sagaworker.ledger.version import LedgerIsNewer
from sagaworker.settings import Settings

log = logging.getLogger(__name__)

LOOPBACK = ("localhost", "127.0.0.1", "::1", None)


def check(worker: Any, settings: Settings) -> None:
    """Refuse a worker of our queues that could not walk sagas: unfit pool, no ledger, or older tables.

    Raises:
        ClickException: `celery worker` prints it without a traceback and exits.
    """
    # A worker of other queues may have any pool and settings.
    served = {settings.queue, settings.control_queue} & set(worker.app.amqp.queues.consume_from)
    if served:
        _refuse_what_cannot_serve(worker, settings, served)
        _refuse_older_tables(settings)
    _warn_about(worker.app)


def _refuse_what_cannot_serve(worker: Any, settings: Settings, served: set[str]) -> None:
    who = f"a worker that consumes {' and '.join(sorted(served))}"
    module = worker.pool_cls.__module__
    if any(name in module for name in ("gevent", "eventlet")):
        raise ClickException(
            f"pool of {who} must be prefork, threads or solo, got {module}\n"
            "a step that computes would stop the heartbeat of all others; start a worker of its own: -P prefork -Q"
            f" {settings.queue}"
        )
    if settings.database_url is None:
        raise ClickException(
            f"{who} must know the ledger's address, got none\n"
            "set SAGAWORKER_DATABASE_URL, or give install(app, database_url=...)"
        )


def _refuse_older_tables(settings: Settings) -> None:
    """Refuse tables that are older than this code: every claim would fail. A database that is away may come back."""
    try:
        with Engine(settings) as engine:  # closed again before the first fork
            engine.check_schema()
    except LedgerIsNewer as newer:
        log.warning("%s", newer)  # a roll-out has begun, and this worker is still useful
    except SchemaMismatch as older:
        raise ClickException(str(older)) from None
    except OUTAGE as away:
        log.warning("the ledger does not let this worker in yet: %s", reason(away))
    except REFUSAL as refused:
        log.warning("the ledger's migration cannot be read, and is not checked: %s", reason(refused))


def _warn_about(app: Celery) -> None:
    url = urlsplit(app.connection_for_write().as_uri())
    if url.scheme in ("redis", "valkey", "amqp") and url.hostname not in LOOPBACK:
        log.warning("broker %s is on another host and not encrypted: use %ss://", url.hostname, url.scheme)
    for name, values in ours.annotated(app):
        log.warning(
            "task_annotations must not name %s, got %s: they have no effect, for the ledger decides; set TIMEOUT and RETRY"
            " on the steps",
            name,
            ", ".join(values),
        )
    for name, task in app.tasks.items():
        if inspect.iscoroutinefunction(inspect.unwrap(task.run)):
            log.error("task %s must not be `async def`: Celery would report success without running it", name)
