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
Handler = Callable[..., Any]


class SafeConsumer(Consumer):
    """Celery's consumer; a message on which it stumbles is rejected, counted and logged once."""

    rejected_messages = 0

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Handler:
        """The handler of one connection's messages. Lost connections pass, whatever else it raises ends the message."""
        self._guard_transport()
        handle = super().create_task_handler(*args, **kwargs)

        def on_task_received(message: Message) -> Any:
            try:
                return handle(message)
            except self.connection_errors:
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
        read = getattr(channel, "handlers", {}).get("BRPOP")
        if read is None:
            return

        def guarded(**options: Any) -> Any:
            try:
                return read(**options)
            except (Empty, *self.connection_errors, *self.channel_errors):
                raise
            except Exception as exc:
                self._count(exc, getattr(exc, "doc", None) or getattr(exc, "object", None))
                raise Empty from exc

        channel.handlers["BRPOP"] = guarded

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
