"""Hold sagas by hand in tests: one worker's view of one saga, a move at a time."""

from __future__ import annotations

import json
from datetime import timedelta

import psycopg

from sagaworker.domain.fold import Fold
from sagaworker.engine import Engine
from sagaworker.ledger.claim import Following
from sagaworker.ledger.episodes import Claimer
from sagaworker.ledger.line import Line

TIMEOUT = timedelta(seconds=60)


def claimed(engine: Engine, saga_id: str, *, timeout: timedelta = TIMEOUT):
    """Claim as this engine's process would; None when refused."""
    line = Line(engine.database)
    seen = engine.ledger.load(saga_id, line).run
    claimer = Claimer(owner=engine.owner)
    hold = engine.ledger.claim(seen, claimer, line, step_name="one", timeout=timeout, undo_timeout=timeout)
    if hold is None:
        line.close()
    return hold


def advance(hold, output="{}", *, last=False, begin_next=True):
    following = None if last else Following(name="next", timeout=TIMEOUT)
    context = Fold()
    for idx, earlier in hold.outputs():
        context.add(idx, earlier)
    context.add(hold.position.idx, json.loads(output))
    return hold.advance(output, following=following, begin_next=begin_next, undo_timeout=TIMEOUT, context=context.text)


def expire(engine: Engine, saga_id: str) -> None:
    """End the lease of the open episode, as if its worker had been paused that long."""
    with psycopg.connect(engine.settings.database_url, autocommit=True) as connection:
        connection.execute(
            "UPDATE saga_episodes SET lease_until = now() - interval '1 second' WHERE saga_id = %s AND ended_at IS NULL",
            (saga_id,),
        )


def end_quarantine(engine: Engine, saga_id: str) -> None:
    """End the quarantine of the saga, as if no worker that was given up could still act."""
    with psycopg.connect(engine.settings.database_url, autocommit=True) as connection:
        connection.execute(
            "UPDATE saga_step_results SET quarantine_until = clock_timestamp()"
            " WHERE saga_id = %s AND quarantine_until > clock_timestamp()",
            (saga_id,),
        )
        connection.execute(
            "UPDATE saga_runs SET wake_at = clock_timestamp() WHERE id = %s AND waiting_for = 'quarantine'", (saga_id,)
        )
