"""What beat sends. Any number of beats may run: each entry is guarded by the database and harmless when doubled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sagaworker.celery.naming import SWEEP_ORPHANS, WAKE_DUE
from sagaworker.settings import Settings

# django-celery-beat keeps whole seconds: half a second would become none, and a flood of messages.
SHORTEST = 1.0
# What beat sent by the same name in earlier versions, and what the workers do by themselves since.
FORMER = (WAKE_DUE,)


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


def settle(scheduler: Any, settings: Settings, configured: Mapping[str, Any]) -> None:
    """Have our entries in a scheduler that may have read others, from a database for one.

    django-celery-beat keeps a row of each entry for ever, so a former one of ours would be sent for ever: it goes, unless
    the app's own schedule has `configured` it. And its rows take no `expires`, but seconds by a name of their own.
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
