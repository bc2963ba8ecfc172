"""Ready-made doorbells on Redis: the message that Celery and kombu made for the first doorbell, with the next one's words.

Celery and kombu take longer to make a message than Redis to store it, and our messages differ in a few words only.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import kombu.messaging
from celery import signals
from kombu.messaging import Producer
from kombu.transport.redis import Channel
from kombu.utils.json import dumps
from kombu.utils.uuid import uuid

from sagaworker.domain.records import Doorbell

_NEEDED = ("_put", "_q_for_pri", "_get_message_priority", "_expires", "conn_or_acquire")
_WORDS = tuple(f"sagaworker-{name}-goes-here" for name in ("id", "saga", "label", "tag", "body"))
ID, SAGA, LABEL, _TAG, _BODY = _WORDS
_ANY = re.compile(f"({'|'.join(_WORDS)})")
_PLAIN = re.compile(r"[\w-]+", re.ASCII)  # text that is written the same in Python and in JSON
_AT_ONCE = 500  # messages in one command


@dataclass(frozen=True, slots=True)
class Model:
    """A message with places for a doorbell's words, and the key of its list."""

    key: str
    pieces: tuple[str, ...]  # text, word, text, word, ..., text
    body: str

    def filled(self, doorbell: Doorbell) -> str:
        """The message of this doorbell."""
        words = {
            ID: uuid(),
            SAGA: doorbell.saga_id,
            LABEL: dumps(doorbell.label)[1:-1],
            _TAG: uuid(),
            _BODY: b64encode(self.body.replace(SAGA, doorbell.saga_id).encode()).decode(),
        }
        return "".join([words.get(piece, piece) for piece in self.pieces])


def is_possible(producer: Producer, doorbells: Sequence[Doorbell]) -> bool:
    """Whether messages need not be made by Celery and kombu: on Redis, where nobody listens to the making.

    Tracing and error reports listen to Celery's signals, or replace kombu's `publish`.
    """
    channel = producer.channel
    return (
        isinstance(channel, Channel)
        and all(hasattr(channel, name) for name in _NEEDED)
        and not signals.before_task_publish.receivers
        and not signals.after_task_publish.receivers
        and Producer.publish.__code__.co_filename == kombu.messaging.__file__
        and all(_PLAIN.fullmatch(doorbell.saga_id) for doorbell in doorbells)
    )


@contextmanager
def caught(channel: Any) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """Within: messages published on this Redis channel are not sent, but put into the list with their queues."""
    messages: list[tuple[str, dict[str, Any]]] = []

    def put(queue: str, message: dict[str, Any], **_: Any) -> None:
        messages.append((queue, message))

    vars(channel)["_put"] = put
    try:
        yield messages
    finally:
        del vars(channel)["_put"]


def model(channel: Any, messages: Sequence[tuple[str, dict[str, Any]]]) -> Model | None:
    """The model from the caught doorbell of ID, SAGA and LABEL; None where these words are not in their places.

    For example, the words are not there where the app compresses its messages. None too for a queue that expires, since
    kombu then does more than store the message.
    """
    if len(messages) != 1:
        return None
    queue, message = messages[0]
    properties = message.get("properties", {})
    if properties.get("body_encoding") != "base64" or queue in channel._expires:  # noqa: SLF001 - kombu has no name for it
        return None
    body = b64decode(message["body"]).decode(errors="replace")
    named = {**message, "body": _BODY, "properties": {**properties, "delivery_tag": _TAG}}
    pieces = _ANY.split(dumps(named))
    if body.count(SAGA) != 1 or {*pieces[1::2]} != {*_WORDS}:
        return None
    key = channel._q_for_pri(queue, channel._get_message_priority(message, reverse=False))  # noqa: SLF001
    return Model(key, tuple(pieces), body)


def put(channel: Any, doorbells: Sequence[tuple[Model, Doorbell]]) -> None:
    """Store the messages, many in one command; doorbells that go first at the front of their list (see head_of_queue.py)."""
    with channel.conn_or_acquire() as client:
        for (key, goes_first), some in groupby(doorbells, key=lambda one: (one[0].key, one[1].goes_first)):
            messages = [model.filled(doorbell) for model, doorbell in some]
            store = client.rpush if goes_first else client.lpush
            for start in range(0, len(messages), _AT_ONCE):
                store(key, *messages[start : start + _AT_ONCE])
