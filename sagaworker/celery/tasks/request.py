"""What a worker makes of a message for one of our tasks: limits of time that a sender put on it do not count."""

from __future__ import annotations

from typing import Any

from celery.worker.request import Request


class SagaRequest(Request):
    """A request without time limits: TIMEOUT of a step bounds it, and a limit of Celery's would hit ledger code."""

    @property
    def time_limits(self) -> tuple[None, None]:
        """None of Celery's, whatever the message says."""
        return (None, None)

    @time_limits.setter
    def time_limits(self, _value: Any) -> None:
        """Celery sets here what the message says."""
