-- move: pending -> running; running -> running; compensating -> compensating
-- The claimer has read the saga before and proves that nobody moved it since: every claim and takeover raises the
-- fence, and a cancel of an unowned saga changes its status.
WITH run AS (
  UPDATE saga_runs AS r
  SET
    fence = r.fence + 1,
    seq = r.seq + 1,
    rings = 0,
    wake_at = NULL,
    waiting_for = NULL,
    status = CASE WHEN r.status = 'pending' THEN 'running' ELSE r.status END,
    started_at = coalesce(r.started_at, statement_timestamp())
  WHERE
    r.id = %(saga_id)s
    AND r.fence = %(seen_fence)s
    AND r.status = %(seen_status)s
    AND r.current_step_idx = %(idx)s
    AND r.status IN ('pending', 'running', 'compensating')
    AND r.archived_at IS NULL
    AND (r.waiting_for IS NULL OR (r.waiting_for IN ('timer', 'retry', 'quarantine') AND r.wake_at <= statement_timestamp()))
    AND NOT EXISTS (SELECT FROM saga_episodes AS e WHERE e.saga_id = %(saga_id)s AND e.ended_at IS NULL)
  RETURNING
    r.id, r.fence, r.seq, r.status, r.current_step_idx, r.cancel_requested, r.max_recoveries,
    coalesce(r.deadline_at <= statement_timestamp(), false) AS deadline_passed
),
ledger AS (
  INSERT INTO saga_step_results AS l
    (saga_id, step_idx, step_name, status, attempts, fence, started_at, deadline_at)
  SELECT
    run.id, run.current_step_idx, %(step_name)s, begun.status, (begun.status = 'running')::integer, run.fence,
    CASE WHEN begun.status = 'running' THEN statement_timestamp() END,
    statement_timestamp() + CASE WHEN begun.status = 'running' THEN %(timeout)s::interval END
  FROM run
  CROSS JOIN LATERAL (
    SELECT CASE
      WHEN run.status = 'running' AND NOT run.cancel_requested AND NOT run.deadline_passed THEN 'running'
      ELSE 'pending' END AS status
  ) AS begun
  ON CONFLICT (saga_id, step_idx) DO UPDATE
  SET
    status = CASE WHEN l.status = 'pending' THEN excluded.status ELSE l.status END,
    attempts = l.attempts + (l.status = 'pending' AND excluded.status = 'running')::integer,
    -- A running row with a deadline is an attempt whose end is not on record; without one its doubt already is.
    in_doubt = l.in_doubt + (l.status = 'running' AND l.deadline_at IS NOT NULL AND %(doubts)s)::integer,
    deadline_at = CASE
      WHEN l.status = 'pending' THEN excluded.deadline_at
      WHEN l.status = 'compensating' THEN statement_timestamp() + %(undo_timeout)s::interval END,
    started_at = CASE
      WHEN l.status = 'pending' THEN coalesce(excluded.started_at, l.started_at)
      ELSE l.started_at END,
    fence = excluded.fence
  RETURNING
    l.status, l.attempts, l.failed_attempts, l.in_doubt, l.recoveries, l.compensation_attempts, l.compensation_recoveries, l.completed_at,
    l.fence, l.deadline_at, l.checkpoint, l.quarantine_until
),
episode AS (
  INSERT INTO saga_episodes (saga_id, fence, owner, host, pid, task_id, lease_until, lease_cap)
  SELECT
    run.id, run.fence, %(owner)s, %(host)s, %(pid)s, %(task_id)s,
    clock_timestamp() + %(lease)s::interval, ledger.deadline_at + %(grace)s::interval
  FROM run
  CROSS JOIN ledger
),
journal AS (
  INSERT INTO saga_events (saga_id, seq, type, step_idx, data)
  SELECT
    run.id, run.seq, 'saga.claimed', run.current_step_idx,
    jsonb_build_object(
      'status', run.status, 'waiting_for', NULL, 'fence', run.fence, 'owner', %(owner)s::text,
      'begun', ledger.status = 'running' AND ledger.deadline_at IS NOT NULL, 'attempt', ledger.attempts,
      'in_doubt', ledger.in_doubt)
  FROM run
  CROSS JOIN ledger
)
SELECT
  run.fence, run.status, run.current_step_idx AS idx, run.cancel_requested, run.deadline_passed, run.max_recoveries,
  false AS on_hold, true AS is_open,
  ledger.status AS row_status, ledger.attempts, ledger.failed_attempts, ledger.in_doubt, ledger.recoveries, ledger.compensation_attempts,
  ledger.compensation_recoveries, ledger.completed_at IS NOT NULL AS has_completed, ledger.fence AS row_fence,
  ledger.deadline_at, ledger.checkpoint,
  coalesce(greatest(extract(epoch FROM ledger.quarantine_until - statement_timestamp()), 0), 0)::float8 AS quarantine
FROM run
CROSS JOIN ledger
