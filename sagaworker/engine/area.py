"""The base of the parts of the engine: the objects that `Engine` composes once."""

from __future__ import annotations

from sagaworker.catalog.definitions import Definitions
from sagaworker.catalog.registry import Registry
from sagaworker.domain.records import Ring
from sagaworker.failpoints import Failpoints
from sagaworker.ledger.database import Database
from sagaworker.ledger.ledger import Ledger
from sagaworker.ledger.operators import Operating
from sagaworker.ledger.reads import Reads
from sagaworker.recovery.sweep import Recovery
from sagaworker.settings import Settings
from sagaworker.starts.starts import Starts


class Area:
    """One part of the engine: the methods of one capability. `Engine` sets the attributes below."""

    settings: Settings
    database: Database
    ledger: Ledger
    reads: Reads
    registry: Registry
    definitions: Definitions
    recovery: Recovery
    operating: Operating
    _starts: Starts
    _ring: Ring | None
    _failpoints: Failpoints
