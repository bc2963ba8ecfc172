"""The facade that users, tasks and commands call."""

from __future__ import annotations

import logging
from typing import Any, Self

from sagaworker.catalog.definitions import Definitions
from sagaworker.catalog.registry import Registry
from sagaworker.domain.records import Ring
from sagaworker.engine.cancels import EngineCancels
from sagaworker.engine.episodes import EngineEpisodes
from sagaworker.engine.operators import EngineOperators
from sagaworker.engine.recovery import EngineRecovery
from sagaworker.engine.starts import EngineStarts
from sagaworker.errors import InvalidSetting
from sagaworker.failpoints import Failpoints
from sagaworker.ledger.claim import Periods
from sagaworker.ledger.database import Database
from sagaworker.ledger.definitions import DefinitionStore
from sagaworker.ledger.failpoints import cursor_class
from sagaworker.ledger.ledger import Ledger
from sagaworker.ledger.operators import Operating
from sagaworker.ledger.reads import Reads
from sagaworker.recovery.sweep import Recovery
from sagaworker.settings import Settings
from sagaworker.starts.requests import Requests
from sagaworker.starts.starts import Starts

log = logging.getLogger(__name__)


class Engine(EngineStarts, EngineCancels, EngineEpisodes, EngineOperators, EngineRecovery):
    """Durable sagas over one ledger. Safe between threads, and in a forked child, which is an owner of its own.

    On a database that is not migrated, or by another version, calls raise SchemaMismatch.

    >>> engine = Engine.from_env()  # doctest: +SKIP
    >>> run = engine.start("checkout", ["steps.reserve", "steps.charge"], key="order-42")  # doctest: +SKIP
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        ring: Ring | None = None,
        failpoints: Failpoints | None = None,
        pool_size: int | None = None,
    ) -> None:
        """`pool_size`: so many connections stay open, those in use included; without it, up to 5 besides those in use.

        More are opened while they are needed.
        """
        self.settings = settings or Settings.from_env()
        if self.settings.database_url is None:
            raise InvalidSetting(
                "SAGAWORKER_DATABASE_URL must be set, got nothing",
                "for example postgresql://user@localhost/sagas; `sagaworker up` starts a database of its own",
            )
        self._ring = ring
        self._failpoints = failpoints or Failpoints.from_env()
        hurt = cursor_class(self._failpoints) if self._failpoints else None
        self.database = Database(
            self.settings.database_url, schema=self.settings.schema, pool_size=pool_size, cursor_class=hurt
        )
        self.ledger = Ledger(
            self.database,
            Periods(
                lease=self.settings.lease,
                grace=self.settings.step_grace,
                ring_after=2 * self.settings.sweep_interval,
            ),
        )
        self.registry = Registry(self.settings)
        self.reads = Reads(self.database)
        self.operating = Operating(self.database, self.ledger.periods.ring_after)
        self.definitions = Definitions(self.registry, DefinitionStore(self.database), self.settings)
        self.recovery = Recovery(self.ledger, self.definitions, self.ring_all, self._failpoints, self.settings)
        self._starts = Starts(
            self.ledger, self.definitions, Requests(self.settings, self.registry), self.ring_all, self._failpoints
        )
        self._made_here()

    @classmethod
    def from_env(cls, *, ring: Ring | None = None, **overrides: Any) -> Engine:
        """An engine from the SAGAWORKER_ variables, then keyword overrides; rings through SAGAWORKER_BROKER_URL if set."""
        settings = Settings.from_env(**overrides)
        if ring is None and settings.broker_url is not None:
            from sagaworker.doorbell.publisher import Doorbells

            ring = Doorbells.from_settings(settings).ring
        return cls(settings, ring=ring)

    def close(self) -> None:
        """End the heartbeat and close the connections. Sagas that this process holds are free when their leases run out."""
        self._heartbeat.close()
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
