"""What beat sends. Any number of beats may run: each entry is guarded by the database and harmless when doubled."""

from __future__ import annotations

from typing import Any

from sagaworker.celery.naming import CONTROL, SWEEP_ORPHANS, WAKE_DUE
from sagaworker.settings import Settings


def schedule(settings: Settings) -> dict[str, dict[str, Any]]:
    """Beat entries by name. A message that was not taken within its interval expires: the next one does the same."""
    sweep = settings.sweep_interval.total_seconds()
    wake = min(1.0, sweep)
    return {
        SWEEP_ORPHANS: {
            "task": SWEEP_ORPHANS,
            "schedule": sweep,
            "options": {"expires": sweep, "queue": CONTROL, "ignore_result": True},
        },
        WAKE_DUE: {
            "task": WAKE_DUE,
            "schedule": wake,
            "options": {"expires": wake, "queue": CONTROL, "ignore_result": True},
        },
    }
