"""The front of a queue on Redis, for a saga that was interrupted.

It stands in the middle of its work and holds what others want, so it does not wait behind everything that was started since,
least of all after a loss of workers. Priorities would not do: kombu asks the first list of every queue before the second of
any, so what is at a lower priority starves behind the ordinary tasks of another queue of the same worker.
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
    """What is published on this channel within goes to the end of its list that consumers take from.

    On other brokers than Redis it takes its turn, and with a kombu that does this in another way: a doorbell that waits is
    better than none. Not safe between threads, as a channel is not.
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
    """As kombu's own (5.7), with RPUSH for LPUSH: its consumers take by BRPOP. Only a queue that expires is not prolonged."""
    key = channel._q_for_pri(queue, channel._get_message_priority(message, reverse=False))  # noqa: SLF001
    if _publish_batch is not None:
        _publish_batch.add("rpush", key, dumps(message))
        return
    with channel.conn_or_acquire() as client:
        client.rpush(key, dumps(message))
