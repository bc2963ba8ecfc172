"""A pool that stays at its size, for the many worker processes: the database then has as many connections as were planned."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.pool import ConnectionPoolEntry


class ExactPool(sa.QueuePool):
    """Keeps no more connections open than its size, those in use included, except while more are in use.

    QueuePool keeps that many *beside* those in use: a connection for a short need would stay open while a saga is walked.
    A process that often needs more connections than the size would reconnect all the time: it wants QueuePool.
    """

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        if self.overflow() <= 0:
            super()._do_return_conn(record)
            return
        try:
            record.close()
        finally:
            self._dec_overflow()
