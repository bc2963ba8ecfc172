"""A quiet system's log: Celery's two lines about each sweep are left out where the sweep found nothing."""

from __future__ import annotations

import logging
import re

from sagaworker.celery import naming

LOGGERS = ("celery.worker.strategy", "celery.app.trace")  # `received` in main, `succeeded` in the pool
_NEWS = re.compile(r": [1-9]")  # a count that is not 0


class Quiet(logging.Filter):
    """Drops Celery's lines about a sweep that found nothing, except at level DEBUG."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is worth a line."""
        context = getattr(record, "data", None)
        if (
            not isinstance(context, dict)
            or context.get("name") != naming.SWEEP_ORPHANS
            or record.levelno > logging.INFO
        ):
            return True
        if logging.getLogger(record.name).isEnabledFor(logging.DEBUG):
            return True
        return _NEWS.search(str(context.get("return_value", ""))) is not None


def keep_quiet() -> None:
    """Filter Celery's loggers in a worker that starts. A second call changes nothing."""
    for name in LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(one, Quiet) for one in logger.filters):
            logger.addFilter(Quiet())
