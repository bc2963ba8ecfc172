"""A pool that stays at its size: for processes of which there are many, so that a database bears as many as were counted."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.pool import ConnectionPoolEntry


class ExactPool(sa.QueuePool):
    """Keeps open no more connections than its size, those in use among them, unless all of them are in use.

    QueuePool keeps that many *beside* those in use: one that was needed for a moment would stay as long as a saga is walked.
    Who often needs more at a time than the size would connect all the time: such a process wants QueuePool.
    """

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        if self.overflow() <= 0:
            super()._do_return_conn(record)
            return
        try:
            record.close()
        finally:
            self._dec_overflow()
