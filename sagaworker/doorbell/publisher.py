"""The doorbell: the Celery message that wakes a worker for one saga.

A doorbell carries the saga's id, and a display name for people. It may be lost, doubled, late or reordered without
harm: the ledger knows what is to be done, and the sweep rings again for a doorbell that nobody took.
"""

from __future__ import annotations

import os
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

from celery import Celery
from celery.utils import uuid
from kombu.connection import Connection, ConnectionPool
from kombu.entity import Exchange, Queue
from kombu.messaging import Producer
from kombu.pools import ProducerPool

from sagaworker.domain.records import Doorbell
from sagaworker.doorbell import ready
from sagaworker.doorbell.channel import keep_client
from sagaworker.doorbell.head_of_queue import at_the_front
from sagaworker.errors import InvalidSetting
from sagaworker.settings import Settings

RUN_SAGA = "sagaworker.run_saga"
LEDGER = "sagaworker_ledger"  # the header with the identity of the ledger that has the saga

# Fields of a message that stay as they are when it is put back.
KEPT = (
    *("expires", "shadow", "argsrepr", "kwargsrepr", "reply_to", "ignore_result", "root_id", "parent_id", "origin"),
    *("callbacks", "errbacks", "chain", "chord", "group_index"),
)

ANSWER_WITHIN = 1.0  # seconds for the broker to accept a connection or to answer; after that, the sweep rings
BATCH_FROM = 3  # fewer doorbells are sent one by one: a pipeline costs more than it saves
MODELS = 64  # ready-made messages kept
CONNECTIONS = 4  # one for each thread that rings at the same time; a fifth waits


def direct_queue(name: str, arguments: dict[str, Any] | None = None) -> Queue:
    """A queue with an exchange and a routing key of its own name."""
    return Queue(name, Exchange(name), routing_key=name, queue_arguments=arguments)


def verified(broker_url: str) -> dict[str, Any] | None:
    """Celery's `broker_use_ssl` for that URL: `rediss://` and `amqps://` alone encrypt without checking the server.

    On Redis, options in the URL itself (`?ssl_cert_reqs=...&ssl_ca_certs=...`) override this.
    """
    if broker_url.startswith("rediss://"):
        return {"ssl_cert_reqs": ssl.CERT_REQUIRED}
    if broker_url.startswith("amqps://"):
        return _OfEachHost(cert_reqs=ssl.CERT_REQUIRED, server_hostname=None)
    return None


class _OfEachHost(dict[str, Any]):
    """TLS options in which kombu fills in `server_hostname`, None here, anew for each host of the URL.

    kombu reads the item and then passes on the whole dict; a plain dict would keep the first host's name for all.
    """

    def __getitem__(self, name: str) -> Any:
        return None if name == "server_hostname" else super().__getitem__(name)


def as_every_worker_reads(app: Celery) -> dict[str, Any]:
    """Options with which every worker can read a message and the broker keeps it, however the app sends other messages.

    The app's compressor may be missing in a worker; gzip is always there. Leaving the option out would use the app's.
    """
    return {"serializer": "json", "compression": "gzip" if app.conf.task_compression else None, "delivery_mode": 2}


class _Connections(ConnectionPool):
    """Not closed after a fork: closing an AMQP connection in a child shuts down the parent's socket too."""

    close_after_fork = False


class Doorbells:
    """Rings through the broker of a Celery app. Safe between threads and after a fork.

    Ringing gives up within about a second when the broker is down or does not answer, so that no caller hangs.
    """

    def __init__(self, app: Celery, settings: Settings | None = None) -> None:
        self._app = app
        self._queue = (settings or Settings()).queue
        self._lock = threading.Lock()
        self._producers: ProducerPool | None = None
        self._models: dict[tuple[str | None, int | None, str | None], ready.Model | None] = {}
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
        app.conf.update(
            task_serializer="json",
            accept_content=["json"],
            broker_connection_timeout=ANSWER_WITHIN,
            broker_transport_options=dict(settings.broker_options or {}),
            broker_use_ssl=verified(settings.broker_url),
            # The workers' queue declarations are not known here, and a bare one would keep them from declaring theirs.
            task_queues=[],
            task_create_missing_queues=False,
            task_default_queue=None,
        )
        return cls(app, settings)

    def close(self) -> None:
        """Close this process' connections; the next ring opens new ones."""
        with self._lock:
            producers, self._producers = self._producers, None
        if producers is not None and self._pid == os.getpid():
            producers.force_close_all()
            producers.connections.force_close_all()

    def ring(self, doorbells: Sequence[Doorbell]) -> None:
        """Send all doorbells, many in one round trip where the broker can; none waits for a worker's answer.

        Raises:
            Exception: an error of the broker's library. Some, all or no doorbells were sent: the caller treats them as
                lost, since one too many is harmless.
        """
        if not doorbells:
            return
        self._published(partial(self._ring, doorbells=doorbells))

    def again(self, request: Any, *, seconds: float, headers: Mapping[str, Any]) -> None:
        """Send the message that a worker has in hand again, to the same queue, due after so many seconds.

        The message keeps its id and gets `headers` added. It is due sooner where the broker would otherwise deliver it
        a second time while it waits in a worker.

        Raises:
            Exception: an error of the broker's library; whether the message was sent is not known.
        """
        visible = (self._app.conf.broker_transport_options or {}).get("visibility_timeout")
        seconds = min(seconds, float(visible) / 4) if visible else seconds
        self._published(partial(self._publish_again, request=request, seconds=seconds, headers=headers))

    def _published(self, publish: Callable[..., None]) -> None:
        began = time.monotonic()
        try:
            self._send(publish, declares=True)
        except Exception:
            # A connection that the broker closed while idle fails only now, and at once: worth one fresh connection.
            # A broker that is down refuses again at once; a broker that does not answer has used up its time.
            if time.monotonic() - began > ANSWER_WITHIN / 2:
                raise
            # The second try does not declare the queue: the broker may have it with other arguments.
            self._send(publish, declares=False)

    def _send(self, publish: Callable[..., None], *, declares: bool) -> None:
        with self._pool().acquire(block=True, timeout=ANSWER_WITHIN) as producer:
            try:
                keep_client(producer.channel)
                publish(producer, declares=declares)
            except BaseException:
                producer.connection.collect()
                raise

    def _ring(self, producer: Producer, *, doorbells: Sequence[Doorbell], declares: bool) -> None:
        if ready.is_possible(producer, doorbells):
            models = [self._model(producer, doorbell, declares=declares) for doorbell in doorbells]
            made = [(model, doorbell) for model, doorbell in zip(models, doorbells, strict=True) if model is not None]
            if len(made) == len(doorbells):
                ready.put(producer.channel, made)
                return
        batch = producer.batch() if len(doorbells) >= BATCH_FROM and hasattr(producer, "batch") else None
        with batch or nullcontext():
            for doorbell in doorbells:
                with at_the_front(producer.channel) if doorbell.goes_first else nullcontext():
                    self._publish(producer, doorbell, uuid(), label=doorbell.label, declares=declares)

    def _model(self, producer: Producer, doorbell: Doorbell, *, declares: bool) -> ready.Model | None:
        """The ready-made message for doorbells to the same queue from the same ledger; made once."""
        kind = (doorbell.queue, doorbell.priority, doorbell.ledger)
        if kind not in self._models:
            if len(self._models) >= MODELS:
                self._models.clear()
            named = replace(doorbell, saga_id=ready.SAGA)
            with ready.caught(producer.channel) as messages:
                self._publish(producer, named, ready.ID, label=ready.LABEL, declares=declares)
            self._models[kind] = ready.model(producer.channel, messages)
        return self._models.get(kind)

    def _publish(self, producer: Producer, doorbell: Doorbell, task_id: str, *, label: str, declares: bool) -> None:
        name = doorbell.queue or self._queue
        message = self._app.amqp.as_task_v2(
            task_id,
            RUN_SAGA,
            args=(doorbell.saga_id,),
            shadow=label,
            argsrepr=f"({doorbell.saga_id!r},)",
            kwargsrepr="{}",
            ignore_result=True,
        )
        options: dict[str, Any] = {} if doorbell.priority is None else {"priority": doorbell.priority}
        headers = {} if not doorbell.ledger else {LEDGER: doorbell.ledger}
        self._hand_over(producer, RUN_SAGA, message, name, declares=declares, headers=headers, **options)

    def _publish_again(
        self, producer: Producer, *, request: Any, seconds: float, headers: Mapping[str, Any], declares: bool
    ) -> None:
        get = request.get  # a client in another language may have left out optional fields
        stamps = get("stamps") or {}
        message = self._app.amqp.as_task_v2(
            request.id,
            request.task,
            args=tuple(request.args),
            kwargs=request.kwargs,
            countdown=seconds,
            # Whatever waits for the result, such as a chain, and the other options of the message.
            **{name: get(name) for name in KEPT},
            group_id=get("group"),
            retries=get("retries") or 0,
            replaced_task_nesting=get("replaced_task_nesting") or 0,
            stamped_headers=get("stamped_headers"),
            **{name: value for name, value in stamps.items() if name in (get("stamped_headers") or ())},
        )
        delivered = get("delivery_info") or {}
        options = {} if delivered.get("priority") is None else {"priority": delivered["priority"]}
        kept = {**(get("headers") or {}), **headers}
        if delivered.get("exchange"):
            # It came by the bindings of the host's own queue, so send it the same way.
            options |= {"exchange": delivered["exchange"], "routing_key": delivered.get("routing_key")}
        self._hand_over(
            producer,
            request.task,
            message,
            delivered.get("routing_key") or "",
            declares=declares,
            headers=kept,
            **options,
        )

    def _hand_over(
        self, producer: Producer, task: str, message: Any, name: str, *, declares: bool, **options: Any
    ) -> None:
        """Send to the queue of that name by the anonymous exchange, which needs no binding.

        If an exchange and a routing key are given, send by those.
        """
        to: dict[str, Any] = {"exchange_type": "given"}  # no type for which Celery would change the exchange
        if "exchange" not in options:
            to = {"queue": direct_queue(name), "declare": self._declared(name) if declares else []}
        self._app.amqp.send_task_message(
            producer, task, message, retry=False, **as_every_worker_reads(self._app), **to, **options
        )

    def _declared(self, name: str) -> list[Queue]:
        """The queue as the app declares it, so that the app's workers can declare it too; else nothing."""
        try:
            return [self._app.amqp.queues[name]]
        except KeyError:
            return []

    def _pool(self) -> ProducerPool:
        """The producers of this process. A forked child leaves its parent's sockets alone and makes its own."""
        with self._lock:
            if self._producers is None or self._pid != os.getpid():
                connection = _bounded(self._app.connection_for_write())
                connections = _Connections(connection, limit=CONNECTIONS)  # type: ignore[no-untyped-call]  # kombu's
                self._producers = ProducerPool(connections, limit=CONNECTIONS, close_after_fork=False)
                self._models = {}
                self._pid = os.getpid()
            return self._producers


def _bounded(connection: Connection) -> Connection:
    """The same connection, but with one try, and waits of at most ANSWER_WITHIN."""
    options: dict[str, Any] = {
        **(connection.transport_options or {}),
        "max_retries": 0,
        "interval_start": 0,
        "connect_retries_timeout": ANSWER_WITHIN,
    }
    match connection.transport.driver_type:
        case "redis":
            options |= {"socket_connect_timeout": ANSWER_WITHIN, "socket_timeout": ANSWER_WITHIN}
        case "amqp":
            options |= {"read_timeout": ANSWER_WITHIN, "write_timeout": ANSWER_WITHIN}
    bounded: Connection = connection.clone(connect_timeout=ANSWER_WITHIN, transport_options=options)
    return bounded
