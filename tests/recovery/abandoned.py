"""Orphans by hand: sagas whose worker is gone while a step was running."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import psycopg

from sagaworker.domain.records import SagaRun
from sagaworker.engine import Engine
from tests.holding import claimed, expire


def orphan(engine: Engine, **options: Any) -> SagaRun:
    """A saga held by a worker whose lease is over. An actor's run with no policy of its own unless one is given."""
    steps = options.pop("steps", ["steps.echo"])
    run = engine.start(options.pop("kind", "t"), steps, **options)
    abandon(engine, run.id)
    return run


def abandon(engine: Engine, saga_id: str) -> None:
    """Claim it and let the lease run out."""
    hold = claimed(engine, saga_id)
    assert hold is not None
    hold.close()
    expire(engine, saga_id)


def execute(engine: Engine, statement: str, *parameters: Any) -> list[Any]:
    """Behind the engine's back."""
    with psycopg.connect(engine.settings.database_url or "", autocommit=True) as connection:
        cursor = connection.execute(statement, parameters or None)  # type: ignore[arg-type]  # a test's own text
        return cursor.fetchall() if cursor.description else []


@contextlib.contextmanager
def another(engine: Engine, rung: list[str] | None = None, **settings: Any) -> Iterator[Engine]:
    """A second process on the same ledger, with other settings."""
    ring = None if rung is None else (lambda bells: rung.extend(bell.saga_id for bell in bells))
    with Engine(engine.settings.replace(**settings), ring=ring) as other:
        yield other


def types(engine: Engine, saga_id: str) -> list[str]:
    """The journal's words, in order."""
    return [entry.type for entry in engine.timeline(saga_id).journal]
