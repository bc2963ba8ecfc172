"""The database connections of a Django project, between two steps.

Django keeps a connection that is broken until a request is over, and Celery until a task is. The steps of a saga are one
task: each attempt after the first, and each undo, would meet the connection on which an earlier one failed.
"""

from __future__ import annotations

import sys
from typing import Any


def renew_connections(*, after_failure: bool) -> None:
    """Close this thread's connections that had errors, or all of them after a failure; Django opens new ones.

    All of them, because a step that timed out within a query has left the query running on its connection. A connection
    in an atomic block is left alone, as Django does. Does nothing where Django is not in use.
    """
    conf: Any = sys.modules.get("django.conf")
    db: Any = sys.modules.get("django.db")
    if db is None or not conf.settings.configured:
        return
    for connection in db.connections.all(initialized_only=True):
        if not connection.in_atomic_block and (after_failure or connection.errors_occurred):
            connection.close()
