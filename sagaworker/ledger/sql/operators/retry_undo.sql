-- move: compensating -> compensating
-- An operator lets the undo at which a saga halted be tried again, with all its tries.
WITH run AS (
  UPDATE saga_runs AS r
  SET
    seq = r.seq + 1,
    waiting_for = NULL,
    rings = 0,
    wake_at = statement_timestamp() + %(ring_after)s::interval,
    error = r.error - 'not_undone'
  FROM saga_step_results AS held
  WHERE
    r.id = %(saga_id)s
    AND r.status = 'compensating'
    AND r.waiting_for = 'operator'
    AND r.archived_at IS NULL
    AND held.saga_id = %(saga_id)s
    AND held.step_idx = r.current_step_idx
    AND held.status = 'compensation_failed'
  RETURNING r.id, r.seq, r.status, r.current_step_idx
),
undo AS (
  UPDATE saga_step_results AS l
  SET status = 'compensating', compensation_attempts = 0, compensation_recoveries = 0, deadline_at = NULL
  FROM run
  WHERE l.saga_id = %(saga_id)s AND l.step_idx = run.current_step_idx
),
journal AS (
  INSERT INTO saga_events (saga_id, seq, type, step_idx, data)
  SELECT
    run.id, run.seq, 'operator.retried', run.current_step_idx,
    jsonb_build_object(
      'status', run.status, 'waiting_for', NULL, 'what', 'undo', 'who', %(who)s::text, 'reason', %(reason)s::text,
      'request', %(request)s::text)
  FROM run
)
SELECT run.status
FROM run
