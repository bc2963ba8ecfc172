"""Which policy decides over an orphan, for one sweep."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from sagaworker.catalog.bounded import Hung, bounded
from sagaworker.catalog.definitions import Definitions, Pair
from sagaworker.domain.definition import POLICIES, Definition
from sagaworker.domain.records import SagaRun
from sagaworker.domain.recovery import decided_policy, legal_policy
from sagaworker.ledger.lease import now
from sagaworker.ledger.ledger import Ledger
from sagaworker.ledger.line import Line
from sagaworker.ledger.session import Connection
from sagaworker.ledger.takeovers import Orphan

log = logging.getLogger(__name__)

RESOLVED_WITHIN = 10.0  # seconds for one answer

ResolvePolicy = Callable[[SagaRun], object]


class Policies:
    """The order: the callback, the registered definition, the database's definition, the run's own, `fail`.

    A callback that raises or gives an illegal answer for one run is logged, and the next in order decides over that run.
    Other runs are not affected.
    """

    def __init__(
        self,
        ledger: Ledger,
        definitions: Definitions,
        source_env: str | None,
        *,
        resolve_policy: ResolvePolicy | None = None,
        actor_registry: Iterable[Definition] = (),
        connection: Connection | None = None,
    ) -> None:
        self._ledger = ledger
        self._definitions = definitions
        self._resolve = resolve_policy
        self._registered = definitions.registered_policies(source_env, actor_registry)
        self._source_env = source_env
        self._connection = connection

    def of(self, orphans: Sequence[Orphan], *, until: float = math.inf) -> list[tuple[Orphan, str]]:
        """Each orphan with the policy that decides over it.

        Orphans that a slow callback was not asked about by `until`, a time of `lease.now`, are left out.
        """
        kinds = sorted({orphan.kind for orphan in orphans})
        stored = self._definitions.stored_policies(self._source_env, kinds, self._connection)
        chosen: list[tuple[Orphan, str]] = []
        for orphan in orphans:
            if chosen and self._resolve is not None and now() >= until:
                break
            chosen.append((orphan, self._decided(orphan, stored)))
        return chosen

    def _decided(self, orphan: Orphan, stored: Mapping[Pair, str]) -> str:
        pair = (orphan.actor_id, orphan.kind)
        any_actor = (None, orphan.kind)
        return decided_policy(
            None if self._resolve is None else self._asked(self._resolve, orphan),
            self._registered.get(pair) or self._registered.get(any_actor),
            stored.get(pair) or stored.get(any_actor),
            orphan.recovery_policy,
        )

    def _asked(self, resolve: ResolvePolicy, orphan: Orphan) -> str | None:
        try:
            with Line(self._ledger.database) as line:
                loaded = self._ledger.load(orphan.saga_id, line)
            if loaded is None:
                return None
            run = loaded.run
            answer = bounded(lambda: resolve(run), RESOLVED_WITHIN, "a resolve_policy")
        except Hung as hung:
            self._resolve = None  # do not ask it again in this sweep: every orphan would wait for it
            log.error("saga %s got %s; definitions decide for the rest of this sweep", orphan.saga_id, hung)  # noqa: TRY400
            return None
        except Exception:
            log.exception("resolve_policy failed for saga %s; its definition decides", orphan.saga_id)
            return None
        if answer is not None and legal_policy(answer) is None:
            log.error(
                "answer of resolve_policy for saga %s must be one of %s or None, got %.80r; its definition decides",
                orphan.saga_id,
                ", ".join(POLICIES),
                answer,
            )
        return legal_policy(answer)
