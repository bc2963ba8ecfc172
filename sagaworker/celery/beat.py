"""The messages that beat sends. Any number of beats may run: the database guards each entry, and a double is harmless."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sagaworker.celery.naming import SWEEP_ORPHANS, WAKE_DUE
from sagaworker.settings import Settings

# django-celery-beat keeps whole seconds: half a second would become 0, and a flood of messages.
SHORTEST = 1.0
# Entries of earlier versions. The workers now do this work by themselves.
FORMER = (WAKE_DUE,)


def schedule(settings: Settings) -> dict[str, dict[str, Any]]:
    """Beat entries by name. A message that is not taken within its interval expires: the next one does the same work.

    There is no entry for waking due sagas: the workers do that by themselves, without a message.
    """
    sweep = max(SHORTEST, settings.sweep_interval.total_seconds())
    return {
        SWEEP_ORPHANS: {
            "task": SWEEP_ORPHANS,
            "schedule": sweep,
            "options": {"expires": sweep, "queue": settings.control_queue, "ignore_result": True},
        },
    }


def settle(scheduler: Any, settings: Settings, configured: Mapping[str, Any]) -> None:
    """Put our entries into a scheduler that may have read its entries elsewhere, for example from a database.

    django-celery-beat never deletes the row of an entry, so it would go on sending our former entries. They are deleted
    here, unless the app's own schedule has `configured` them. Its rows have `expire_seconds` in place of `expires`.
    """
    is_kept_in_rows = hasattr(scheduler, "Model")
    ours = {name: entry for name, entry in schedule(settings).items() if configured.get(name, entry) == entry}
    if is_kept_in_rows:
        scheduler.update_from_dict({name: _as_row(entry) for name, entry in ours.items()})
        for name in FORMER:
            former = scheduler.schedule.get(name)
            if former is not None and former.task == name and name not in configured:
                former.model.delete()
    else:
        scheduler.update_from_dict({name: entry for name, entry in ours.items() if name not in scheduler.schedule})


def _as_row(entry: dict[str, Any]) -> dict[str, Any]:
    options = entry["options"]
    return {**entry, "options": {**options, "expire_seconds": int(options["expires"])}}
