"""The hand-written loop to which the engine is compared. It is committed and fixed: do not tune it.

One connection, one prepared statement a step, one round trip, one commit. The statement does the least that `advance`
must do: prove fence, status and cursor on the run, complete row i with its output, begin row i+1 before its code may
run, write one journal row. No claim, no lease, no heartbeat, no cancel, no retry, no limits, no registry.
"""

from __future__ import annotations

import json
import time
from uuid import UUID, uuid4

import psycopg

TABLES = """
CREATE TABLE loop_runs (
    id uuid PRIMARY KEY, kind text NOT NULL, status text NOT NULL, step_modules jsonb NOT NULL, inputs jsonb NOT NULL,
    current_step_idx integer NOT NULL, fence bigint NOT NULL, seq bigint NOT NULL,
    inserted_at timestamptz NOT NULL, started_at timestamptz, completed_at timestamptz
);
CREATE INDEX loop_runs_active ON loop_runs (inserted_at) WHERE status = 'running';
CREATE TABLE loop_steps (
    saga_id uuid, step_idx integer, step_name text NOT NULL, status text NOT NULL, output jsonb,
    attempts integer NOT NULL, fence bigint NOT NULL,
    started_at timestamptz, completed_at timestamptz, deadline_at timestamptz,
    PRIMARY KEY (saga_id, step_idx)
);
CREATE TABLE loop_events (
    saga_id uuid, seq bigint, type text NOT NULL, step_idx integer, data jsonb NOT NULL, created_at timestamptz NOT NULL,
    PRIMARY KEY (saga_id, seq)
);
"""

START = """
WITH run AS (
    INSERT INTO loop_runs (
        id, kind, status, step_modules, inputs, current_step_idx, fence, seq, inserted_at, started_at
    ) VALUES (%s, 'bench', 'running', %s::jsonb, '{}', 0, 1, 1, now(), now())
    RETURNING id
), begun AS (
    INSERT INTO loop_steps (saga_id, step_idx, step_name, status, attempts, fence, started_at, deadline_at)
    SELECT id, 0, 'echo', 'running', 1, 1, now(), now() + interval '300 s' FROM run
)
INSERT INTO loop_events (saga_id, seq, type, data, created_at)
SELECT id, 1, 'saga.started', '{"status": "running"}', now() FROM run
"""

ADVANCE = """
WITH run AS (
    UPDATE loop_runs
    SET current_step_idx = current_step_idx + 1,
        seq = seq + 1,
        status = CASE WHEN %(last)s THEN 'completed' ELSE status END,
        completed_at = CASE WHEN %(last)s THEN now() END
    WHERE id = %(saga)s AND fence = %(fence)s AND status = 'running' AND current_step_idx = %(step)s
    RETURNING id, seq, fence, status
), done AS (
    UPDATE loop_steps
    SET status = 'completed', output = %(output)s::jsonb, completed_at = now()
    FROM run
    WHERE saga_id = %(saga)s AND step_idx = %(step)s AND loop_steps.status = 'running'
), begun AS (
    INSERT INTO loop_steps (saga_id, step_idx, step_name, status, attempts, fence, started_at, deadline_at)
    SELECT id, %(step)s + 1, 'echo', 'running', 1, fence, now(), now() + interval '300 s' FROM run WHERE NOT %(last)s
)
INSERT INTO loop_events (saga_id, seq, type, step_idx, data, created_at)
SELECT id, seq, 'step.completed', %(step)s, jsonb_build_object('status', status), now() FROM run
RETURNING seq
"""


def echo(step: int) -> dict[str, int]:
    """The trivial step."""
    return {f"echo_{step}": step}


class Loop:
    """Runs sagas of trivial steps on one connection, in autocommit: each statement is its own durable commit."""

    name = "loop"

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)
        self._connection.execute(TABLES)
        self._cursor = self._connection.cursor()

    def measure(self, sagas: int, steps: int) -> dict[str, float]:
        """Seconds to start so many sagas and walk them all to their end, and of the walking alone."""
        modules = json.dumps(["echo"] * steps)
        began = time.perf_counter()
        ids = [uuid4() for _ in range(sagas)]
        for saga in ids:
            self._cursor.execute(START, (saga, modules), prepare=True)
        started = time.perf_counter()
        for saga in ids:
            self._walk(saga, steps)
        ended = time.perf_counter()
        return {"start_and_run": ended - began, "run": ended - started}

    def _walk(self, saga: UUID, steps: int) -> None:
        execute, last = self._cursor.execute, steps - 1
        for step in range(steps):
            output = json.dumps(echo(step))
            execute(
                ADVANCE,
                {"saga": saga, "fence": 1, "step": step, "last": step == last, "output": output},
                prepare=True,
            )
            if self._cursor.rowcount != 1:
                message = f"step {step} of saga {saga} must be held by this loop, got no row back"
                raise RuntimeError(message)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
