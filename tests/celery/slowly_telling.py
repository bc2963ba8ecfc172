"""The ready-made app in a worker that tells of tasks and of places as it always does, only slower: so the order is seen."""

from sagaworker.celery.worker import announce, consumer
from sagaworker.celery_app import app

consumer.EVENTS_EVERY = 1.0
announce.EVERY = 6.0

__all__ = ["app"]
