"""One Redis client a channel.

kombu makes a client for each command that it sends, which takes longer than the command.
"""

from __future__ import annotations

import inspect
from typing import Any

from kombu.transport.redis import Channel

_MAKER = "_create_client"
_PARAMETERS = ["self", "asynchronous"]


def keep_client(channel: Any) -> None:
    """Make this channel keep one client for its commands, as long as it keeps its pool of connections.

    Does nothing on other brokers, or with a kombu that makes its clients in another way.
    """
    if not isinstance(channel, Channel) or _MAKER in vars(channel):
        return
    make = getattr(channel, _MAKER, None)
    if make is None or list(inspect.signature(getattr(type(channel), _MAKER)).parameters) != _PARAMETERS:
        return
    kept: Any = None

    def create(asynchronous: bool = False) -> Any:  # noqa: FBT001, FBT002 - kombu's signature
        nonlocal kept
        if asynchronous:
            return make(asynchronous=True)  # such a client holds a connection, so kombu keeps it by itself
        if kept is None or kept.connection_pool is not channel.pool:
            kept = make()
        return kept

    vars(channel)[_MAKER] = create
