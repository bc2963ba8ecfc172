"""Somebody's Celery app by its configuration as plain JSON, queues (name, and arguments of the broker) included."""

from __future__ import annotations

from typing import Any

from celery import Celery
from kombu import Exchange, Queue


def app_of(house: dict[str, Any], broker_url: str, **options: Any) -> Celery:
    app = Celery("shop", broker=broker_url, **options)
    app.conf.broker_connection_retry_on_startup = True
    queues = house.get("queues", {})
    app.conf.update({name: value for name, value in house.items() if name != "queues"})
    if queues:
        app.conf.task_queues = [
            Queue(name, Exchange(name), routing_key=name, queue_arguments=arguments)
            for name, arguments in queues.items()
        ]
    return app
