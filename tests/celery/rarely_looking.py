"""The ready-made app in a worker whose pool is not looked at every five seconds: a place is filled because of its death."""

from celery.concurrency.asynpool import AsynPool

from sagaworker.celery_app import app

AsynPool.timers = property(lambda self: {self.maintain_pool: 3600.0})

__all__ = ["app"]
