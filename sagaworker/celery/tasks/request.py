"""A worker's request for one of our tasks: it ignores the sender's time limits."""

from __future__ import annotations

from typing import Any

from celery.worker.request import Request


class SagaRequest(Request):
    """A request without time limits: TIMEOUT of a step bounds it, and a limit of Celery's would hit ledger code."""

    @property
    def time_limits(self) -> tuple[None, None]:
        """No limit of Celery's, even where the message has one."""
        return (None, None)

    @time_limits.setter
    def time_limits(self, _value: Any) -> None:
        """Ignore the message's limits, which Celery sets here."""
