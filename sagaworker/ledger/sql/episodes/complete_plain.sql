-- short form of complete: running -> completed
-- What complete.sql does where neither a cancel nor the deadline came first. Its WHERE proves that in the UPDATE itself.
-- No row: one of them came, or the fence is stale, and complete.sql tells which.
WITH run AS (
  UPDATE saga_runs AS r
  SET
    seq = r.seq + 1,
    status = 'completed',
    -- A hold that came during the last step holds nothing: there is no next step.
    waiting_for = NULL,
    completed_at = statement_timestamp(),
    context = %(context)s::jsonb
  FROM saga_step_results AS held
  WHERE
    r.id = %(saga_id)s
    AND r.fence = %(fence)s
    AND r.status = 'running'
    AND r.current_step_idx = %(idx)s
    AND NOT r.cancel_requested
    AND (r.deadline_at IS NULL OR r.deadline_at > statement_timestamp())
    AND held.saga_id = %(saga_id)s
    AND held.step_idx = %(idx)s
    AND held.status = 'running'
    AND held.attempts = %(attempts)s
  RETURNING r.seq, r.status, r.current_step_idx, r.context, r.started_at, r.completed_at
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
episode AS (
  UPDATE saga_episodes AS e
  SET ended_at = statement_timestamp(), outcome = 'completed'
  FROM run
  WHERE e.saga_id = %(saga_id)s AND e.fence = %(fence)s
),
journal AS (
  INSERT INTO saga_events (saga_id, seq, type, step_idx, data)
  SELECT
    %(saga_id)s, run.seq, 'step.completed', %(idx)s,
    jsonb_build_object('status', 'completed', 'waiting_for', NULL, 'fence', %(fence)s, 'attempt', %(attempts)s)
  FROM run
)
SELECT
  run.status, run.current_step_idx AS idx, false AS cancel_requested, false AS deadline_passed, false AS on_hold,
  run.context, run.started_at, run.completed_at
FROM run
