-- move: running -> running; running -> compensating
-- The hot path: step i completed, step i+1 begun. Everything that somebody without the fence may have written is on the
-- run row and is read in its own UPDATE, so a cancel or a hold that committed first is always seen, and one that comes
-- later meets the new status. On hold the next step is recorded and not begun; the holder then yields. Rows are named by
-- the saga's id itself, never by a join with what another part returned: a plan made while the tables were empty would
-- read them whole as long as the session lives.
WITH run AS (
  UPDATE saga_runs AS r
  SET
    seq = r.seq + 1,
    status = CASE WHEN saga_must_stop(r.cancel_requested, r.deadline_at) THEN 'compensating' ELSE r.status END,
    current_step_idx = r.current_step_idx
      + CASE WHEN saga_must_stop(r.cancel_requested, r.deadline_at) THEN 0 ELSE 1 END,
    error = CASE
      WHEN r.cancel_requested THEN jsonb_build_object('reason', 'cancelled', 'compensate_from_idx', r.current_step_idx)
      WHEN r.deadline_at <= statement_timestamp()
        THEN jsonb_build_object('reason', 'timed_out', 'compensate_from_idx', r.current_step_idx)
      ELSE r.error END,
    error_class = CASE
      WHEN r.cancel_requested THEN 'cancelled'
      WHEN r.deadline_at <= statement_timestamp() THEN 'timed_out'
      ELSE r.error_class END
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
    r.seq, r.status, r.current_step_idx, r.cancel_requested, r.waiting_for,
    coalesce(r.deadline_at <= statement_timestamp(), false) AS deadline_passed,
    r.waiting_for IS NOT NULL AND r.waiting_for = 'hold' AS on_hold
),
done AS (
  UPDATE saga_step_results AS l
  SET
    status = CASE WHEN run.status = 'running' THEN 'completed' ELSE 'compensating' END,
    output = %(output)s::jsonb,
    error = NULL,
    completed_at = statement_timestamp(),
    deadline_at = CASE WHEN run.status = 'compensating' THEN statement_timestamp() + %(undo_timeout)s::interval END,
    fence = %(fence)s
  FROM run
  WHERE l.saga_id = %(saga_id)s AND l.step_idx = %(idx)s
),
following AS (
  INSERT INTO saga_step_results (saga_id, step_idx, step_name, status, attempts, fence, started_at, deadline_at)
  SELECT
    %(saga_id)s, run.current_step_idx, %(next_name)s,
    CASE WHEN %(begin_next)s AND NOT run.on_hold THEN 'running' ELSE 'pending' END,
    (%(begin_next)s AND NOT run.on_hold)::integer,
    %(fence)s,
    CASE WHEN %(begin_next)s AND NOT run.on_hold THEN statement_timestamp() END,
    CASE WHEN %(begin_next)s AND NOT run.on_hold THEN statement_timestamp() + %(next_timeout)s::interval END
  FROM run
  WHERE run.status = 'running'
),
journal AS (
  INSERT INTO saga_events (saga_id, seq, type, step_idx, data)
  SELECT
    %(saga_id)s, run.seq, 'step.completed', %(idx)s,
    jsonb_build_object(
      'status', run.status, 'waiting_for', run.waiting_for, 'fence', %(fence)s, 'attempt', %(attempts)s,
      'begun_next', run.status = 'running' AND %(begin_next)s AND NOT run.on_hold)
  FROM run
)
SELECT
  run.status, run.current_step_idx AS idx, run.cancel_requested, run.deadline_passed, run.on_hold,
  statement_timestamp() + %(next_timeout)s::interval AS deadline_at
FROM run
