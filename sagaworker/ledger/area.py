"""The base of the parts of the ledger: the database, and the durations that moves write."""

from __future__ import annotations

from sagaworker.ledger.claim import Periods
from sagaworker.ledger.database import Database


class Area:
    """One part of the ledger: the moves of one capability. Each move is atomic and leaves one journal row a saga."""

    def __init__(self, database: Database, periods: Periods) -> None:
        self.database = database
        self.periods = periods
