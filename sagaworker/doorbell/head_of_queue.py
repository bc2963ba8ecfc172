"""The front of a queue on Redis, for a saga that was interrupted.

An interrupted saga is in the middle of its work and may hold what other sagas want. So it does not wait behind all sagas
that were started since, least of all after a loss of workers. Priorities would not do: kombu asks the first list of every
queue before any second list, so lower priorities starve behind the ordinary tasks of the same worker's other queues.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from kombu.transport.redis import Channel
from kombu.utils.json import dumps

_NEEDED = ("_put", "_q_for_pri", "_get_message_priority", "conn_or_acquire")


@contextmanager
def at_the_front(channel: Any) -> Iterator[None]:
    """Within: messages published on this channel go to the end of their list from which consumers take.

    On other brokers than Redis, or with a kombu that stores in another way, a message waits for its turn: a doorbell that
    waits is better than no doorbell. Not safe between threads, like a channel.
    """
    if not isinstance(channel, Channel) or not all(hasattr(channel, name) for name in _NEEDED):
        yield
        return
    instance: Any = channel
    instance._put = partial(_put, instance)  # noqa: SLF001 - kombu has no name for it
    try:
        yield
    finally:
        del instance._put  # noqa: SLF001


def _put(channel: Any, queue: str, message: dict[str, Any], *, _publish_batch: Any = None, **_: Any) -> None:
    """Kombu's own method (5.7) with RPUSH for LPUSH: consumers take by BRPOP. It does not prolong a queue that expires."""
    key = channel._q_for_pri(queue, channel._get_message_priority(message, reverse=False))  # noqa: SLF001
    if _publish_batch is not None:
        _publish_batch.add("rpush", key, dumps(message))
        return
    with channel.conn_or_acquire() as client:
        client.rpush(key, dumps(message))
