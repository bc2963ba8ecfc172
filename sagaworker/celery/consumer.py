"""A consumer that no message takes down.

Celery's own rejects most of what it cannot read. What it lets through raises in the event loop of main: the worker
dies, the broker gives the message to the next one, and so on through all of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from queue import Empty
from typing import Any

from celery.worker.consumer import Consumer
from kombu.message import Message

log = logging.getLogger(__name__)

EXCERPT = 200
TEXTS = ("task", "id", "root_id", "parent_id", "shadow", "argsrepr", "kwargsrepr", "origin")
Handler = Callable[..., Any]


class SafeConsumer(Consumer):
    """Celery's consumer; a message on which it stumbles is rejected, counted and logged once."""

    rejected_messages = 0

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Handler:
        """The handler of one connection's messages. Lost connections pass, whatever else it raises ends the message."""
        self._guard_transport()
        handle = super().create_task_handler(*args, **kwargs)
        lost = self._lost_connection()

        def on_task_received(message: Message) -> Any:
            try:
                _check_texts(message.headers)
                return handle(message)
            except lost:
                raise
            except Exception as exc:  # noqa: BLE001 - a message from anybody may raise anything
                self._count(exc, message.body)
                if not message.acknowledged:
                    message.reject_log_error(log, self.connection_errors)  # type: ignore[no-untyped-call]
            return None

        return on_task_received

    def _guard_transport(self) -> None:
        """On Redis, what is not even an envelope raises inside the transport's reader: guard that too.

        Such an item was popped already; there is nothing to reject and nobody to give it back to.
        """
        channel = self.task_consumer.channel
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
        """What means a lost connection. kombu counts KeyError too, for Redis: a header that is missing in a message
        would have the worker reconnect, get the same message again, and so on for ever."""
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


def _check_texts(headers: object) -> None:
    """Refuse what Celery would count by: a name that is a list raises after a place in the pool was given to it, and
    the place is never given back."""
    if isinstance(headers, dict):
        wrong = [name for name in TEXTS if not isinstance(headers.get(name), str | None)]
        if wrong:
            raise TypeError(f"header {wrong[0]} must be a text, got {type(headers[wrong[0]]).__name__}")
