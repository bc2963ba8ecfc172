-- move: running -> running; compensating -> compensating
-- One failed attempt of a step or of an undo. With park_for the saga lets its worker go until the next attempt is due.
WITH run AS (
  UPDATE saga_runs AS r
  SET
    seq = r.seq + 1,
    -- Nobody waits for a retry that a cancel, the run's deadline or a hold has already ruled out: the holder sees them.
    waiting_for = CASE
      WHEN r.waiting_for IS NOT NULL THEN r.waiting_for
      WHEN %(park_for)s::interval IS NULL
        OR (r.status = 'running' AND coalesce(saga_must_stop(r.cancel_requested, r.deadline_at), false)) THEN NULL
      ELSE 'retry' END,
    wake_at = CASE
      WHEN r.waiting_for IS NOT NULL THEN NULL
      WHEN %(park_for)s::interval IS NULL
        OR (r.status = 'running' AND coalesce(saga_must_stop(r.cancel_requested, r.deadline_at), false)) THEN NULL
      WHEN r.status = 'running' THEN least(statement_timestamp() + %(park_for)s::interval, r.deadline_at)
      ELSE statement_timestamp() + %(park_for)s::interval END
  FROM saga_step_results AS held
  WHERE
    r.id = %(saga_id)s
    AND r.fence = %(fence)s
    AND r.status = %(status)s
    AND r.status IN ('running', 'compensating')
    AND r.current_step_idx = %(idx)s
    AND held.saga_id = %(saga_id)s
    AND held.step_idx = %(idx)s
    AND held.status = r.status
    AND held.attempts = %(attempts)s
    AND held.compensation_attempts = %(compensation_attempts)s
    AND EXISTS (SELECT FROM saga_episodes AS e WHERE e.saga_id = %(saga_id)s AND e.fence = %(fence)s AND e.ended_at IS NULL)
  RETURNING r.id, r.seq, r.status, r.waiting_for, coalesce(r.waiting_for = 'retry', false) AS is_parked
),
failed AS (
  UPDATE saga_step_results AS l
  SET
    status = CASE WHEN run.status = 'running' THEN 'pending' ELSE l.status END,
    failed_attempts = l.failed_attempts + (run.status = 'running' AND %(counts)s)::integer,
    in_doubt = l.in_doubt + (run.status = 'running' AND %(doubted)s)::integer,
    compensation_attempts = l.compensation_attempts + (run.status = 'compensating')::integer,
    deadline_at = CASE
      WHEN run.status = 'compensating' AND NOT run.is_parked
        THEN statement_timestamp() + %(undo_timeout)s::interval END,
    error = %(error)s::jsonb,
    fence = %(fence)s
  FROM run
  WHERE l.saga_id = %(saga_id)s AND l.step_idx = %(idx)s
  RETURNING l.attempts, l.compensation_attempts
),
episode AS (
  UPDATE saga_episodes AS e
  SET ended_at = statement_timestamp(), outcome = 'parked'
  FROM run
  WHERE e.saga_id = %(saga_id)s AND e.fence = %(fence)s AND run.is_parked
),
journal AS (
  INSERT INTO saga_events (saga_id, seq, type, step_idx, data)
  SELECT
    run.id, run.seq, CASE WHEN run.status = 'running' THEN 'step.retried' ELSE 'undo.retried' END, %(idx)s,
    jsonb_build_object(
      'status', run.status, 'waiting_for', run.waiting_for, 'fence', %(fence)s, 'doubted', %(doubted)s, 'counts', %(counts)s,
      'attempt', CASE WHEN run.status = 'running' THEN failed.attempts ELSE failed.compensation_attempts END,
      'error', %(error)s::jsonb)
  FROM run
  CROSS JOIN failed
)
SELECT run.status
FROM run
