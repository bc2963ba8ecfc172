-- short form of advance: running -> running
-- What advance.sql does where neither a cancel, nor the deadline, nor a hold has come, and the next step begins. Its WHERE
-- proves that in the UPDATE itself. No row: something came, or the fence is stale, and advance.sql tells which.
WITH run AS (
  UPDATE saga_runs AS r
  SET seq = r.seq + 1, current_step_idx = r.current_step_idx + 1
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
    AND held.status = 'running'
    AND held.attempts = %(attempts)s
  RETURNING r.seq, r.current_step_idx
),
done AS (
  UPDATE saga_step_results AS l
  SET
    status = 'completed',
    output = %(output)s::jsonb,
    error = NULL,
    completed_at = statement_timestamp(),
    deadline_at = NULL,
    fence = %(fence)s
  FROM run
  WHERE l.saga_id = %(saga_id)s AND l.step_idx = %(idx)s
),
following AS (
  INSERT INTO saga_step_results (saga_id, step_idx, step_name, status, attempts, fence, started_at, deadline_at)
  SELECT
    %(saga_id)s, run.current_step_idx, %(next_name)s, 'running', 1, %(fence)s,
    statement_timestamp(), statement_timestamp() + %(next_timeout)s::interval
  FROM run
)
INSERT INTO saga_events (saga_id, seq, type, step_idx, data)
SELECT
  %(saga_id)s, run.seq, 'step.completed', %(idx)s,
  jsonb_build_object(
    'status', 'running', 'waiting_for', NULL, 'fence', %(fence)s, 'attempt', %(attempts)s, 'begun_next', true)
FROM run
RETURNING statement_timestamp() + %(next_timeout)s::interval AS deadline_at
