"""The engine's reads of sagas and of the ledger. They change nothing."""

from __future__ import annotations

import builtins
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypeAlias

from sagaworker.domain.filter import Filter
from sagaworker.domain.records import Finding, SagaRun, StepResult, Timeline
from sagaworker.engine.area import Area
from sagaworker.errors import SagaNotFound, WaitTimeout
from sagaworker.ledger import audit, version
from sagaworker.ledger.outage import OUTAGE
from sagaworker.reads.filters import checked_page, checked_since, checked_statuses
from sagaworker.reads.names import Finder, checked_id

Since: TypeAlias = datetime | timedelta | float | str


class EngineReads(Area):
    """Reads. Each method that takes a saga id takes every name of a saga that we print (`id_of`)."""

    def id_of(self, name: str, *, to_move: bool = False) -> str:
        """The id of the saga that a name means: an id, its first letters, `kind[key]`, or `kind[the id's last six]`.

        Every method that takes a saga id takes these. A whole id costs no query. A method that changes a saga (`to_move`)
        takes a short name of the engine's own source_env only.

        Raises:
            InvalidInput: no saga has that name, or several have; the message lists them.
        """
        return Finder(self.reads, self.settings.source_env).id_of(name, to_move=to_move)

    def get(self, saga_id: str) -> SagaRun:
        """One run with its context.

        Raises:
            SagaNotFound: no such run.
            InvalidInput: not an id.
        """
        saga_id = self.id_of(saga_id)
        run = self.reads.run(saga_id)
        if run is None:
            raise SagaNotFound(saga_id)
        return run

    def list(  # noqa: PLR0913 - one parameter for each filter
        self,
        *,
        status: str | Sequence[str] | None = None,
        kind: str | None = None,
        actor_id: str | None = None,
        key: str | None = None,
        conversation_id: str | None = None,
        limit: int = 50,
        offset: int = 0,
        order: str = "desc",
        exclude_archived: bool = False,
        needs_person: bool | None = None,
        since: Since | None = None,
        after: str | None = None,
    ) -> builtins.list[SagaRun]:
        """Runs, newest first unless order is "asc", without their contexts; at most 1,000 a page.

        `after`: the page after the run of this id, the last of the page before; as quick for the thousandth page as for the
        first. `offset` reads all runs that it leaves out.
        `needs_person`: True, runs for which `explain` says that nothing more happens without a person; False, the others.
        `since`: started then or later: an aware datetime, or a timedelta or seconds back from now by the database's
        clock; as text an ISO 8601 instant with its offset, or a duration such as "90s", "15m", "2h", "3d".
        """
        checked_page(limit, offset, order)
        return self.reads.runs(
            Filter(
                statuses=tuple(checked_statuses(status)),
                kind=kind,
                actor_id=actor_id,
                key=key,
                conversation_id=conversation_id,
                exclude_archived=exclude_archived,
                needs_person=needs_person,
                since=checked_since(since),
                after=None if after is None else self.id_of(after),
                limit=limit,
                offset=offset,
                descending=order == "desc",
            )
        )

    def list_step_results(self, saga_id: str) -> builtins.list[StepResult]:
        """The ledger rows of one saga, in order."""
        saga_id = self.id_of(saga_id)
        self._must_exist(saga_id)
        return self.reads.step_results(saga_id)

    def timeline(self, saga_id: str) -> Timeline:
        """Run, steps, episodes and journal of one saga, in one snapshot."""
        saga_id = self.id_of(saga_id)
        timeline = self.reads.timeline(saga_id)
        if timeline is None:
            raise SagaNotFound(saga_id)
        return timeline

    def wait(self, saga_id: str, *, timeout: float = 60.0) -> SagaRun:
        """Wait until the saga is terminal; at most `timeout` seconds.

        Raises:
            WaitTimeout: the saga is not terminal yet, and goes on.
        """
        until = time.monotonic() + timeout
        pause = 0.01
        while True:
            left = until - time.monotonic()
            try:
                run = self.get(saga_id)
                saga_id = run.id  # a short name costs a query
            except OUTAGE:  # the saga goes on when the database is back, and so does the wait
                if left <= 0:
                    raise
                time.sleep(min(pause, left))
                pause = min(pause * 1.5, 0.5)
                continue
            if run.status.is_terminal:
                return run
            if left <= 0:
                raise WaitTimeout(saga_id, run.status, timeout)
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, 0.5)

    def audit(self, *, since: Since | None = None) -> builtins.list[Finding]:
        """Check every invariant of the ledger; an empty list is a sound ledger.

        Without `since` it reads all rows. With `since` it reads the rows of sagas that are not over or ended since: all rows
        that a move has touched since, but not rows of older sagas that were changed by hand.
        """
        return audit.audit(self.database, sweep_interval=self.settings.sweep_interval, since=checked_since(since))

    def check_schema(self) -> None:
        """Refuse a database whose tables are not those of this version."""
        version.check(self.database.engine, self.settings.schema)

    def _must_exist(self, saga_id: str) -> None:
        if not self.reads.runs_by_id([checked_id(saga_id)]):
            raise SagaNotFound(saga_id)
