"""A consumer that no message can stop.

Celery's own consumer rejects most unreadable messages. The others raise in the event loop of main: the worker dies,
the broker gives the message to the next worker, and so on through all workers.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from queue import Empty
from typing import Any

from billiard.einfo import ExceptionInfo
from celery.bootsteps import RUN
from celery.concurrency.thread import TaskPool as ThreadPool
from celery.worker import state as worker_state
from celery.worker.consumer import Consumer
from kombu.connection import Connection
from kombu.message import Message
from redis.exceptions import RedisError

from sagaworker.doorbell.channel import keep_client

log = logging.getLogger(__name__)

EXCERPT = 200
TEXTS = ("task", "id", "root_id", "parent_id", "shadow", "argsrepr", "kwargsrepr", "origin")
RETRY_FROM = 0.25  # seconds until the second attempt to reach a lost broker
EVENTS_EVERY = 0.1  # seconds between two flushes of task events: a flush at each message is half of main's work
RETRY_STEP = 0.5  # seconds by which each next wait is longer, up to the transport's own most
Handler = Callable[..., Any]


class SafeConsumer(Consumer):
    """Celery's consumer, but a message that makes it raise is rejected, counted and logged once."""

    rejected_messages = 0
    _flush_at = 0.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # A Redis that became a replica, or has a new password, refuses; Celery ends the worker for that. Here the
        # refusal counts as a lost connection: the next connection may lead to the new master.
        self.connection_errors += tuple(error for error in self.channel_errors if issubclass(error, RedisError))
        self._guard_pool()
        self._guard_start()

    def _guard_pool(self) -> None:
        """Give back the pool's place of a message that raises while it is handed over: Celery never would.

        One such message for each place would otherwise stop the worker silently.
        """
        worker: Any = self.controller
        hand_over = worker._process_task  # noqa: SLF001 - Celery has no public door here

        def guarded(request: Any) -> None:
            try:
                hand_over(request)
            except Exception as exc:  # noqa: BLE001 - a message from anybody may raise anything
                self._count(exc, request.message.body)
                request.reject(requeue=False)
                worker_state.task_ready(request)
                if worker.semaphore is not None:
                    worker.semaphore.release()

        worker._process_task = guarded  # noqa: SLF001
        if getattr(self, "on_task_request", None) == hand_over:  # a pool without a semaphore keeps it here
            self.on_task_request = guarded
        if isinstance(self.pool, ThreadPool):
            # A thread's exception stays in a future that nobody looks at: report it as a failed task.
            self.pool.on_apply = partial(_applied, self.pool.on_apply)

    def _guard_start(self) -> None:
        """Replace a child that dies while the worker starts, where Celery would end the worker.

        Where no child lives, something is wrong with all: the worker ends, as with Celery.
        """
        pool: Any = self.pool
        has_started = pool.did_start_ok
        pool.did_start_ok = lambda: has_started() or bool(getattr(getattr(pool, "_pool", None), "_pool", ()))

    def ensure_connected(self, conn: Connection) -> Connection:
        """Try a lost broker again soon: Celery waits two seconds first, while doorbells queue and nobody takes them."""
        vars(conn)["ensure_connection"] = partial(
            conn.ensure_connection, interval_start=RETRY_FROM, interval_step=RETRY_STEP
        )
        connected: Connection = super().ensure_connected(conn)
        return connected

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        """Wait a little before the next try: a broker that refuses does so at once, which would make a tight loop."""
        super().on_connection_error_before_connected(exc)
        time.sleep(RETRY_STEP)

    def on_send_event_buffered(self) -> None:
        """Send task events a few times a second; at once while the worker stops, since its last timers do not fire."""
        hub: Any = self.hub
        now = time.monotonic()
        if hub and self.blueprint.state != RUN:
            super().on_send_event_buffered()
        elif hub and now >= self._flush_at:
            self._flush_at = now + EVENTS_EVERY
            hub.call_later(EVENTS_EVERY, self._flush_events)

    def stop(self) -> None:
        """Stop consuming. The waiting events are sent together with the events of the pool's last tasks."""
        if self.hub:
            super().on_send_event_buffered()
        super().stop()

    def _keep_events(self) -> None:
        """Keep waiting events for the next connection, as Celery does with events that it could not send."""
        dispatcher: Any = vars(self).get("event_dispatcher")
        if dispatcher is not None and dispatcher.enabled:
            dispatcher.producer = _Lost()
            dispatcher.flush(errors=False)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Close a lost connection, and ignore errors of the close.

        With a message in hand, kombu tries to return the message over the lost connection and raises AttributeError,
        which would end the worker.
        """
        self._keep_events()
        connection: Connection | None = self.connection
        if connection:
            vars(connection)["close"] = partial(_closed, connection.close)
        super().on_connection_error_after_connected(exc)

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Handler:
        """The handler of one connection's messages. It lets a lost connection raise; any other exception rejects the message."""
        self._guard_transport()
        self._keep_clients()
        handle = super().create_task_handler(*args, **kwargs)
        lost = self._lost_connection()

        def on_task_received(message: Message) -> Any:
            try:
                _check_headers(message.headers)
                return handle(message)
            except lost:
                raise
            except Exception as exc:  # noqa: BLE001 - a message from anybody may raise anything
                self._count(exc, message.body)
                if not message.acknowledged:
                    message.reject_log_error(log, self.connection_errors)
            return None

        return on_task_received

    def _keep_clients(self) -> None:
        keep_client(vars(self)["task_consumer"].channel)
        producer = getattr(vars(self).get("event_dispatcher"), "producer", None)
        if producer is not None:
            keep_client(producer.channel)

    def _guard_transport(self) -> None:
        """Guard the reader of the Redis transport too: an item that is not even an envelope raises there.

        Such an item was popped already; there is nothing to reject and nobody to give it back to.
        """
        channel = vars(self)["task_consumer"].channel  # set by a bootstep, so unknown to type checkers
        lost = (*self._lost_connection(), *self.channel_errors)
        read = getattr(channel, "handlers", {}).get("BRPOP")
        if read is None:
            return

        def guarded(**options: Any) -> Any:
            try:
                return read(**options)
            except (Empty, *lost):
                raise
            except Exception as exc:
                self._count(exc, getattr(exc, "doc", None) or getattr(exc, "object", None))
                raise Empty from exc

        channel.handlers["BRPOP"] = guarded

    def _lost_connection(self) -> tuple[type[Exception], ...]:
        """The exceptions that mean a lost connection: kombu's, but for KeyError.

        A missing header raises KeyError: the worker would reconnect, get the same message again, and never end.
        """
        return tuple(error for error in self.connection_errors if not issubclass(error, LookupError))

    def _count(self, exc: Exception, content: object) -> None:
        self.rejected_messages += 1
        excerpt = ascii(content)[:EXCERPT] if isinstance(content, (str, bytes)) else "with nothing to show"
        log.error(
            "message %d that cannot be read was rejected: %s: %.200s; it began %s",
            self.rejected_messages,
            type(exc).__name__,
            exc,
            excerpt,
        )


class _Lost:
    """Stands in for a producer whose connection is lost."""

    def publish(self, *_: Any, **__: Any) -> None:
        raise ConnectionError("the connection to the broker is lost")


def _closed(close: Callable[[], None]) -> None:
    try:
        close()
    except Exception as exc:  # noqa: BLE001 - the sweep rings again for lost messages
        log.warning("a lost connection to the broker was not closed cleanly: %s: %s", type(exc).__name__, exc)


def _applied(apply: Handler, target: Handler, *args: Any, **options: Any) -> Any:
    def run(*task: Any, **kwargs: Any) -> Any:
        try:
            return target(*task, **kwargs)
        except Exception:  # noqa: BLE001 - anything that Celery raises before or after the task itself
            return True, ExceptionInfo(), 0.0  # as Celery's tracer reports a failure

    return apply(run, *args, **options)


def _check_headers(headers: object) -> None:
    """Refuse headers that would raise in the event loop later, when the message can no longer be rejected."""
    if not isinstance(headers, dict):
        return
    for name in TEXTS:
        if not isinstance(headers.get(name), str | None):
            raise TypeError(f"header {name} must be a text, got {type(headers[name]).__name__}")
    limits = headers.get("timelimit") or (None, None)
    if not (
        isinstance(limits, list | tuple) and [isinstance(one, int | float | None) for one in limits] == [True, True]
    ):
        raise TypeError(f"header timelimit must be two numbers, got {ascii(limits)[:EXCERPT]}")
