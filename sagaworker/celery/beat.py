"""What beat sends. Any number of beats may run: each entry is guarded by the database and harmless when doubled."""

from __future__ import annotations

from typing import Any

from sagaworker.celery.naming import SWEEP_ORPHANS
from sagaworker.settings import Settings

# django-celery-beat keeps whole seconds: half a second would become none, and a flood of messages.
SHORTEST = 1.0


def schedule(settings: Settings) -> dict[str, dict[str, Any]]:
    """Beat entries by name. A message that was not taken within its interval expires: the next one does the same.

    Waking what is due is no entry: the workers do it by themselves, without a message.
    """
    sweep = max(SHORTEST, settings.sweep_interval.total_seconds())
    return {
        SWEEP_ORPHANS: {
            "task": SWEEP_ORPHANS,
            "schedule": sweep,
            "options": {"expires": sweep, "queue": settings.control_queue, "ignore_result": True},
        },
    }
