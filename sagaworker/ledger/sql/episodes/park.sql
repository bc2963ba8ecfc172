-- move: running -> running; compensating -> compensating
-- The saga waits without a worker: for the end of a quarantine, or for an operator (no wake_at).
WITH run AS (
  UPDATE saga_runs AS r
  SET
    seq = r.seq + 1,
    waiting_for = CASE WHEN r.waiting_for = 'hold' THEN r.waiting_for ELSE %(waiting_for)s END,
    wake_at = CASE WHEN r.waiting_for IS NULL THEN statement_timestamp() + %(park_for)s::interval END
  WHERE
    r.id = %(saga_id)s
    AND r.fence = %(fence)s
    AND r.status = %(status)s
    AND r.status IN ('running', 'compensating')
    AND r.current_step_idx = %(idx)s
    AND EXISTS (SELECT FROM saga_episodes AS e WHERE e.saga_id = %(saga_id)s AND e.fence = %(fence)s AND e.ended_at IS NULL)
  RETURNING r.id, r.seq, r.status, r.waiting_for
),
ledger AS (
  UPDATE saga_step_results AS l
  SET deadline_at = NULL, error = coalesce(%(error)s::jsonb, l.error), fence = %(fence)s
  FROM run
  WHERE l.saga_id = %(saga_id)s AND l.step_idx = %(idx)s
),
episode AS (
  UPDATE saga_episodes AS e
  SET ended_at = statement_timestamp(), outcome = 'parked'
  FROM run
  WHERE e.saga_id = %(saga_id)s AND e.fence = %(fence)s
),
journal AS (
  INSERT INTO saga_events (saga_id, seq, type, step_idx, data)
  SELECT
    run.id, run.seq, 'saga.parked', %(idx)s,
    jsonb_build_object('status', run.status, 'waiting_for', run.waiting_for, 'fence', %(fence)s)
  FROM run
)
SELECT run.status
FROM run
