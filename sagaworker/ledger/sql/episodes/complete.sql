-- move: running -> completed; running -> compensating
-- The last step completed, and with it the saga; or it is undone at once, where a cancel or the deadline came first.
WITH run AS (
  UPDATE saga_runs AS r
  SET
    seq = r.seq + 1,
    status = CASE WHEN saga_must_stop(r.cancel_requested, r.deadline_at) THEN 'compensating' ELSE 'completed' END,
    error = CASE
      WHEN r.cancel_requested THEN jsonb_build_object('reason', 'cancelled', 'compensate_from_idx', r.current_step_idx)
      WHEN r.deadline_at <= statement_timestamp()
        THEN jsonb_build_object('reason', 'timed_out', 'compensate_from_idx', r.current_step_idx)
      ELSE r.error END,
    error_class = CASE
      WHEN r.cancel_requested THEN 'cancelled'
      WHEN r.deadline_at <= statement_timestamp() THEN 'timed_out'
      ELSE r.error_class END,
    -- A hold that came during the last step holds nothing: there is no next step.
    waiting_for = CASE WHEN saga_must_stop(r.cancel_requested, r.deadline_at) THEN r.waiting_for END,
    completed_at = CASE
      WHEN saga_must_stop(r.cancel_requested, r.deadline_at) THEN NULL
      ELSE statement_timestamp() END,
    context = CASE
      WHEN saga_must_stop(r.cancel_requested, r.deadline_at) THEN r.context
      ELSE %(context)s::jsonb END
  FROM saga_step_results AS held
  WHERE
    r.id = %(saga_id)s
    AND r.fence = %(fence)s
    AND r.status = 'running'
    AND r.current_step_idx = %(idx)s
    AND held.saga_id = %(saga_id)s
    AND held.step_idx = %(idx)s
    AND held.status = 'running'
    AND held.attempts = %(attempts)s
  RETURNING
    r.seq, r.status, r.current_step_idx, r.cancel_requested, r.waiting_for, r.context, r.started_at, r.completed_at,
    coalesce(r.deadline_at <= statement_timestamp(), false) AS deadline_passed,
    r.waiting_for IS NOT NULL AND r.waiting_for = 'hold' AS on_hold
),
done AS (
  UPDATE saga_step_results AS l
  SET
    status = CASE WHEN run.status = 'completed' THEN 'completed' ELSE 'compensating' END,
    output = %(output)s::jsonb,
    error = NULL,
    completed_at = statement_timestamp(),
    deadline_at = CASE WHEN run.status = 'compensating' THEN statement_timestamp() + %(undo_timeout)s::interval END,
    fence = %(fence)s
  FROM run
  WHERE l.saga_id = %(saga_id)s AND l.step_idx = %(idx)s
),
episode AS (
  UPDATE saga_episodes AS e
  SET ended_at = statement_timestamp(), outcome = 'completed'
  FROM run
  WHERE e.saga_id = %(saga_id)s AND e.fence = %(fence)s AND run.status = 'completed'
),
journal AS (
  INSERT INTO saga_events (saga_id, seq, type, step_idx, data)
  SELECT
    %(saga_id)s, run.seq, 'step.completed', %(idx)s,
    jsonb_build_object(
      'status', run.status, 'waiting_for', run.waiting_for, 'fence', %(fence)s, 'attempt', %(attempts)s)
  FROM run
)
SELECT
  run.status, run.current_step_idx AS idx, run.cancel_requested, run.deadline_passed, run.on_hold, run.context,
  run.started_at, run.completed_at
FROM run
