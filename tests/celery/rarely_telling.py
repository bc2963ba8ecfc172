"""The ready-made app in a worker that does not send its task events by the clock: they go because something happened."""

from sagaworker.celery.worker import consumer
from sagaworker.celery_app import app

consumer.EVENTS_EVERY = 3600.0

__all__ = ["app"]
