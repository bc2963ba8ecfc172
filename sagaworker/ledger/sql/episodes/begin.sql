-- move: running -> running
WITH run AS (
  UPDATE saga_runs AS r
  SET seq = r.seq + 1
  FROM saga_step_results AS held
  WHERE
    r.id = %(saga_id)s
    AND r.fence = %(fence)s
    AND r.status = 'running'
    AND r.current_step_idx = %(idx)s
    AND NOT r.cancel_requested
    AND (r.deadline_at IS NULL OR r.deadline_at > statement_timestamp())
    AND r.waiting_for IS NULL
    AND held.saga_id = %(saga_id)s
    AND held.step_idx = %(idx)s
    AND held.status IN ('pending', 'running')
    AND held.attempts = %(attempts)s
    AND EXISTS (SELECT FROM saga_episodes AS e WHERE e.saga_id = %(saga_id)s AND e.fence = %(fence)s AND e.ended_at IS NULL)
  RETURNING r.id, r.seq, r.status
),
begun AS (
  UPDATE saga_step_results AS l
  SET
    status = 'running',
    attempts = l.attempts + 1,
    started_at = statement_timestamp(),
    deadline_at = statement_timestamp() + %(timeout)s::interval,
    fence = %(fence)s
  FROM run
  WHERE l.saga_id = %(saga_id)s AND l.step_idx = %(idx)s
  RETURNING l.attempts
),
journal AS (
  INSERT INTO saga_events (saga_id, seq, type, step_idx, data)
  SELECT
    run.id, run.seq, 'step.begun', %(idx)s,
    jsonb_build_object('status', run.status, 'waiting_for', NULL, 'fence', %(fence)s, 'attempt', begun.attempts)
  FROM run
  CROSS JOIN begun
)
SELECT begun.attempts
FROM begun
