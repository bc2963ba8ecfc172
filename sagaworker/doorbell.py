"""The doorbell: the Celery message that wakes a worker for one saga.

It carries the saga's id, and for people's eyes a display name. It may be lost, doubled, late or reordered without harm:
the ledger knows what is to be done, and the sweep rings again what was not heard.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from celery import Celery
from celery.utils import uuid
from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from kombu.messaging import Producer
from kombu.pools import ProducerPool

from sagaworker.domain.records import Doorbell
from sagaworker.errors import InvalidSetting
from sagaworker.front import at_the_front
from sagaworker.settings import Settings

RUN_SAGA = "sagaworker.run_saga"
SAGAS = "sagas"  # the queue of doorbells that name no other

ANSWER_WITHIN = 1.0  # seconds for the broker to accept a connection or to answer; later, the sweep rings
BATCH_FROM = 3  # fewer are sent one by one: a pipeline costs more than it saves
CONNECTIONS = 4  # one for each thread that rings at the same time; a fifth waits


def direct_queue(name: str) -> Queue:
    """A queue with an exchange and a routing key of its own name."""
    return Queue(name, Exchange(name), routing_key=name)


class Doorbells:
    """Rings through the broker of a Celery app. Safe between threads and after a fork.

    Ringing gives up within about a second when the broker is down or does not answer, so that no caller hangs.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._producers: ProducerPool | None = None
        self._pid = 0

    @classmethod
    def from_settings(cls, settings: Settings) -> Doorbells:
        """Doorbells for a process that has no Celery app of its own: a client, a script, a web application.

        Raises:
            InvalidSetting: no broker URL is set.
        """
        if settings.broker_url is None:
            raise InvalidSetting(
                "SAGAWORKER_BROKER_URL must be set to ring doorbells, got nothing",
                "for example redis://localhost:6379/0; `sagaworker up` starts a broker of its own",
            )
        app = Celery("sagaworker-client", broker=settings.broker_url, set_as_current=False)
        app.conf.update(task_serializer="json", accept_content=["json"], broker_connection_timeout=ANSWER_WITHIN)
        return cls(app)

    def ring(self, doorbells: Sequence[Doorbell]) -> None:
        """Send them all, many in one round trip where the broker can; no doorbell waits for a worker's answer.

        Raises:
            Exception: what the broker's library raises. Some, all or none were sent: the caller treats them as lost,
                and one too many is harmless.
        """
        if not doorbells:
            return
        began = time.monotonic()
        try:
            self._send(doorbells)
        except Exception:
            # A connection that the broker closed while idle shows only now, and at once: worth one fresh connection.
            # A broker that is down refuses again at once; one that does not answer has used up its time.
            if time.monotonic() - began > ANSWER_WITHIN / 2:
                raise
            self._send(doorbells)

    def _send(self, doorbells: Sequence[Doorbell]) -> None:
        with self._pool().acquire(block=True, timeout=ANSWER_WITHIN) as producer:
            try:
                batch = producer.batch() if len(doorbells) >= BATCH_FROM and hasattr(producer, "batch") else None
                with batch or nullcontext():
                    for doorbell in doorbells:
                        self._publish(producer, doorbell)
            except BaseException:
                producer.connection.collect()
                raise

    def _publish(self, producer: Producer, doorbell: Doorbell) -> None:
        message = self._app.amqp.as_task_v2(
            uuid(),
            RUN_SAGA,
            args=(doorbell.saga_id,),
            shadow=doorbell.label,
            argsrepr=f"({doorbell.saga_id!r},)",
            kwargsrepr="{}",
            ignore_result=True,
        )
        options: dict[str, Any] = {} if doorbell.priority is None else {"priority": doorbell.priority}
        with at_the_front(producer.channel) if doorbell.goes_first else nullcontext():
            self._app.amqp.send_task_message(
                producer,
                RUN_SAGA,
                message,
                queue=direct_queue(doorbell.queue or SAGAS),
                serializer="json",
                # Not as the app's other messages: its compressor may be missing here, and a bell outlives its broker.
                compression="gzip" if self._app.conf.task_compression else None,
                delivery_mode=2,
                retry=False,
                **options,
            )

    def _pool(self) -> ProducerPool:
        """The producers of this process. A forked child leaves its parent's sockets alone and makes its own."""
        with self._lock:
            if self._producers is None or self._pid != os.getpid():
                connection = _bounded(self._app.connection_for_write())
                connections = connection.Pool(CONNECTIONS)
                self._producers = ProducerPool(connections, limit=CONNECTIONS)
                self._pid = os.getpid()
            return self._producers


def _bounded(connection: Connection) -> Connection:
    """The same connection, trying once and waiting no longer than ANSWER_WITHIN for anything."""
    options: dict[str, Any] = {
        **(connection.transport_options or {}),
        "max_retries": 0,
        "interval_start": 0,
        "connect_retries_timeout": ANSWER_WITHIN,
    }
    if connection.transport.driver_type == "redis":
        options |= {"socket_connect_timeout": ANSWER_WITHIN, "socket_timeout": ANSWER_WITHIN}
    bounded: Connection = connection.clone(connect_timeout=ANSWER_WITHIN, transport_options=options)
    return bounded
