"""How many messages wait in a queue: kombu keeps a list of its own for each of four priorities."""

from __future__ import annotations

import redis
from kombu.transport.redis import PRIORITY_STEPS, Channel


def keys_of(queue: str) -> list[str]:
    """The lists of a queue, in the order in which a consumer empties them."""
    return [f"{queue}{Channel.sep}{step}" if step else queue for step in PRIORITY_STEPS]


def length(client: redis.Redis, queue: str = "sagas") -> int:
    return sum(client.llen(key) for key in keys_of(queue))
