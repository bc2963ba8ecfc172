"""Reads, composed with SQLAlchemy. No read writes, and each is one snapshot."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy import exc as sa_exc

from sagaworker.domain.explain import IMPORTING_FOR, IMPORTS, PASSED_OVER
from sagaworker.domain.filter import Filter
from sagaworker.domain.records import Episode, JournalEntry, SagaRun, StepResult, Timeline
from sagaworker.domain.status import EpisodeOutcome, RunStatus, StepStatus, WaitingFor
from sagaworker.domain.values import Json
from sagaworker.ledger.database import Database
from sagaworker.ledger.line import Line
from sagaworker.ledger.schema import saga_episodes, saga_events, saga_runs, saga_step_results
from sagaworker.ledger.session import Connection
from sagaworker.ledger.statements import sql

Answer = TypeVar("Answer")
_RUN = [saga_runs.c[name] for name in SagaRun.__dataclass_fields__]
_STEP = [saga_step_results.c[name] for name in StepResult.__slots__]
_EVENT = [saga_events.c[name] for name in JournalEntry.__slots__]
_EPISODE = [saga_episodes.c[name] for name in Episode.__slots__]


# Status and protocol_version as literals: with parameters the partial indexes of active and of failed runs are not used.
_IS_ACTIVE = sa.and_(
    saga_runs.c.status.in_([sa.literal_column(f"'{one.value}'") for one in RunStatus if not one.is_terminal]),
    saga_runs.c.protocol_version >= sa.literal_column("1"),
)
_IS_PASSED_OVER = sa.and_(
    saga_runs.c.waiting_for.is_(None),
    sa.exists()
    .where(saga_events.c.saga_id == saga_runs.c.id, saga_events.c.seq == saga_runs.c.seq)
    .where(saga_events.c.type == PASSED_OVER)
    # As in `explain.is_passed_over`: an import that may still be under way does not count.
    .where(
        ~sa.func.coalesce(
            sa.and_(
                saga_events.c.data["imports"].astext.cast(sa.Integer).between(1, IMPORTS),
                saga_events.c.data["last_at"].astext.cast(sa.DateTime(timezone=True))
                > sa.func.clock_timestamp() - IMPORTING_FOR,
            ),
            sa.false(),
        )
    ),
)
# Must agree with `explain`; a test compares the two.
_NEEDS_PERSON = sa.or_(
    saga_runs.c.status == sa.literal_column(f"'{RunStatus.FAILED.value}'"),
    sa.and_(
        _IS_ACTIVE,
        sa.or_(
            sa.func.coalesce(saga_runs.c.waiting_for.in_([WaitingFor.OPERATOR, WaitingFor.HOLD]), sa.false()),
            _IS_PASSED_OVER,
        ),
    ),
)


_IS_ENDED = saga_runs.c.status.in_([sa.literal_column(f"'{one.value}'") for one in RunStatus if one.is_terminal])
CLOCKS = timedelta(days=1)  # largest difference of the database's clock and a client's clock, which makes the ids


def _ending(id: sa.ColumnElement[Any]) -> sa.ColumnElement[str]:
    """The expression of the index saga_runs_by_ending, with literals: otherwise the index is not used."""
    return sa.func.right(sa.cast(id, sa.Text), sa.literal_column("6"))


def _conditions(wanted: Filter) -> Iterator[sa.ColumnElement[bool]]:
    """The filter's conditions, written so that PostgreSQL can use the indexes of active, failed and rolled back runs."""
    if wanted.statuses:
        yield saga_runs.c.status.in_([sa.literal_column(f"'{status.value}'") for status in wanted.statuses])
        yield saga_runs.c.protocol_version >= sa.literal_column("1")  # without this saga_runs_active is not used
    for column in (saga_runs.c.kind, saga_runs.c.actor_id, saga_runs.c.key, saga_runs.c.conversation_id):
        value = getattr(wanted, column.name)
        if value is not None:
            yield column == value
    if wanted.exclude_archived:
        yield saga_runs.c.archived_at.is_(None)
    if wanted.needs_person is not None:
        yield _NEEDS_PERSON if wanted.needs_person else ~_NEEDS_PERSON
    if wanted.since is not None:
        yield from _started_since(wanted.since)


def _started_since(since: datetime | timedelta) -> Iterator[sa.ColumnElement[bool]]:
    """By the database's clock, and by the ids: their order ends the search where all further runs are older."""
    first = sa.func.clock_timestamp() - since if isinstance(since, timedelta) else sa.cast(since, sa.DateTime(True))
    yield saga_runs.c.inserted_at >= first
    millis = sa.func.greatest(sa.cast(sa.extract("epoch", first - CLOCKS) * 1000, sa.BigInteger), 0)
    digits = sa.func.rpad(sa.func.lpad(sa.func.to_hex(millis), 12, "0"), 32, "0")
    # In a sub-select: a value from a clock cannot bound an index scan directly.
    yield saga_runs.c.id >= sa.select(sa.cast(digits, sa.UUID(as_uuid=False))).scalar_subquery()


class Named(NamedTuple):
    """A run that a name may mean, and the run's environment."""

    id: str
    source_env: str | None


class Reads:
    """The reads of a ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def run(self, saga_id: str) -> SagaRun | None:
        """One run. While it is active its context is folded from its outputs, read a moment later."""
        with Line(self._database) as line:
            row = line.read("load", {"saga_id": saga_id})
            if row is None:
                return None
            if row["completed_at"] is None:
                row["context"] = _folded(output["output"] for output in line.rows("outputs", {"saga_id": saga_id}))
        return run_of(row)

    def identity(self) -> str | None:
        """The identity that `migrate` gave this ledger; None where it is not given yet."""
        rows = self._database.retried("identity", {})
        return rows[0]["id"] if rows else None

    def runs_by_id(self, saga_ids: Sequence[str]) -> dict[str, SagaRun]:
        """Several runs, without their contexts."""
        query = sa.select(*_RUN).where(saga_runs.c.id == sa.any_(sa.cast(list(saga_ids), sa.ARRAY(sa.UUID(False)))))
        return self._asked(
            lambda connection: {run.id: run for run in map(_bare_run, connection.execute(query).mappings())}
        )

    def runs(self, wanted: Filter) -> list[SagaRun]:
        """Runs by start time (ids are time-ordered), filtered and paged, without their contexts."""
        query = sa.select(*_RUN).where(*_conditions(wanted))
        id = saga_runs.c.id
        if wanted.after is not None:
            query = query.where(id < wanted.after if wanted.descending else id > wanted.after)
        order = id.desc() if wanted.descending else id.asc()
        page = query.order_by(order).limit(wanted.limit).offset(wanted.offset)
        return self._asked(lambda connection: [_bare_run(row) for row in connection.execute(page).mappings()])

    def passed_over(self, saga_ids: Sequence[str]) -> set[str]:
        """Of these runs, those that may run but, by their last journal row, no worker could run."""
        ids = sa.any_(sa.cast(list(saga_ids), sa.ARRAY(sa.UUID(False))))
        query = sa.select(saga_runs.c.id).where(saga_runs.c.id == ids, _IS_ACTIVE, _IS_PASSED_OVER)
        return self._asked(lambda connection: set(connection.execute(query).scalars()))

    def ids_of_label(self, kind: str, rest: str, *, source_env: str | None, limit: int) -> list[Named]:
        """Runs of a kind whose key is `rest`, or whose id ends with `rest`. The environment's own runs, if there are any."""
        if "\x00" in kind or "\x00" in rest:
            return []
        columns = (saga_runs.c.id, saga_runs.c.source_env)
        of_kind = saga_runs.c.kind == kind
        keyed = sa.select(*columns).where(of_kind, saga_runs.c.key == rest)
        current = keyed.where(saga_runs.c.archived_at.is_(None)).limit(limit)
        ends_so = sa.and_(of_kind, saga_runs.c.key.is_(None), _ending(saga_runs.c.id) == rest)
        # All active runs are read, by their index: they are few. OFFSET 0 keeps the planner from using another index.
        active = sa.select(saga_runs).where(_IS_ACTIVE).offset(sa.literal_column("0")).subquery()
        in_active = sa.select(active.c.id, active.c.source_env).where(
            active.c.kind == kind, active.c.key.is_(None), _ending(active.c.id) == rest
        )
        ending = (
            sa.union_all(sa.select(*columns).where(ends_so, _IS_ENDED), in_active).order_by(sa.desc("id")).limit(limit)
        )

        def ask(connection: sa.Connection) -> list[Named]:
            rows = connection.execute(current).all() or connection.execute(keyed.limit(limit)).all()
            found = [Named(row.id, row.source_env) for row in (*rows, *connection.execute(ending))]
            return [one for one in found if one.source_env == source_env] or found

        return self._asked(ask)

    def ids_of_beginning(self, text: str, *, limit: int) -> list[Named]:
        """Runs whose ids begin with `text`, newest first: a range of the primary key."""
        digits = text.replace("-", "").lower()
        least, most = (str(uuid.UUID(digits.ljust(32, filler))) for filler in "0f")
        query = sa.select(saga_runs.c.id, saga_runs.c.source_env).where(saga_runs.c.id.between(least, most))
        page = query.order_by(saga_runs.c.id.desc()).limit(limit)
        return self._asked(lambda connection: [Named(row.id, row.source_env) for row in connection.execute(page)])

    def step_results(self, saga_id: str) -> list[StepResult]:
        """The ledger rows of one saga in order."""
        return self._asked(lambda connection: self._steps(connection, saga_id))

    def timeline(self, saga_id: str) -> Timeline | None:
        """Run, steps, episodes and journal, in one snapshot."""
        return self._asked(lambda connection: self._timeline(connection, saga_id), isolation_level="REPEATABLE READ")

    def _timeline(self, connection: sa.Connection, saga_id: str) -> Timeline | None:
        load = sql("load", self._database.schema(cast("Connection", connection.connection.driver_connection)))
        row = connection.exec_driver_sql(load.decode(), {"saga_id": saga_id}).mappings().one_or_none()
        if row is None:
            return None
        journal = sa.select(*_EVENT).where(saga_events.c.saga_id == saga_id).order_by(saga_events.c.seq)
        held = sa.select(*_EPISODE).where(saga_episodes.c.saga_id == saga_id).order_by(saga_episodes.c.fence)
        steps = tuple(self._steps(connection, saga_id))
        context = row["context"] if row["completed_at"] else _folded(step.output or {} for step in steps)
        return Timeline(
            run=run_of({**row, "context": context}),
            steps=steps,
            episodes=tuple(_episode(row) for row in connection.execute(held).mappings()),
            journal=tuple(JournalEntry(**row) for row in connection.execute(journal).mappings()),
        )

    def _asked(self, ask: Callable[[sa.Connection], Answer], **options: Any) -> Answer:
        """Ask; once more if the pooled connection had died since its last use. The pool then drops all older connections."""
        try:
            with self._database.engine.connect() as connection:
                return ask(self._placed(connection, options))
        except sa_exc.DBAPIError as exc:
            if not exc.connection_invalidated:
                self._database.refuse_older(exc)
                raise
        with self._database.engine.connect() as connection:
            return ask(self._placed(connection, options))

    def _placed(self, connection: sa.Connection, options: dict[str, Any]) -> sa.Connection:
        """The same connection, with our tables in the ledger's schema."""
        schema = self._database.schema(cast("Connection", connection.connection.driver_connection))
        return connection.execution_options(schema_translate_map={None: schema}, **options)

    @staticmethod
    def _steps(connection: sa.Connection, saga_id: str) -> list[StepResult]:
        query = sa.select(*_STEP).where(saga_step_results.c.saga_id == saga_id).order_by(saga_step_results.c.step_idx)
        return [
            StepResult(**{**row, "status": StepStatus(row["status"])}) for row in connection.execute(query).mappings()
        ]


def _folded(outputs: Iterable[Mapping[str, Json]]) -> dict[str, Json]:
    context: dict[str, Json] = {}
    for output in outputs:
        context.update(output)
    return context


def _bare_run(row: sa.RowMapping) -> SagaRun:
    return run_of({**row, "context": None})


def run_of(row: Mapping[Any, Any]) -> SagaRun:
    """The record of a row that has all columns of SagaRun."""
    return SagaRun(
        **{
            **{name: row[name] for name in SagaRun.__dataclass_fields__},
            "status": RunStatus(row["status"]),
            "waiting_for": None if row["waiting_for"] is None else WaitingFor(row["waiting_for"]),
            # A corrupted list reads as empty, so that reads of other sagas still work.
            "step_modules": tuple(row["step_modules"]) if isinstance(row["step_modules"], list) else (),
            "attributes": row["attributes"] or {},
            "context": row["context"] or {},
        }
    )


def _episode(row: sa.RowMapping) -> Episode:
    outcome = row["outcome"]
    return Episode(**{**row, "outcome": None if outcome is None else EpisodeOutcome(outcome)})
