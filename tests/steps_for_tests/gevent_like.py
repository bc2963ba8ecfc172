"""A pool whose module is named as the green ones are; gevent itself need not be installed."""

from celery.concurrency.solo import TaskPool as SoloPool


class TaskPool(SoloPool):
    """Green by name."""
