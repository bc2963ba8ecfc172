-- move: running -> running
-- An operator lets a step in doubt go on: begun again under the same idempotency key, its doubt kept, or as it declares
-- itself, so that its probe is asked once more.
WITH run AS (
  UPDATE saga_runs AS r
  SET
    seq = r.seq + 1,
    waiting_for = NULL,
    rings = 0,
    wake_at = statement_timestamp() + %(ring_after)s::interval
  FROM saga_step_results AS held
  WHERE
    r.id = %(saga_id)s
    AND r.status = 'running'
    AND r.current_step_idx = %(idx)s
    AND r.waiting_for = 'operator'
    AND r.archived_at IS NULL
    AND held.saga_id = %(saga_id)s
    AND held.step_idx = r.current_step_idx
    AND held.status = 'running'
    AND held.deadline_at IS NULL
  RETURNING r.id, r.seq, r.status, r.current_step_idx
),
step AS (
  UPDATE saga_step_results AS l
  SET status = CASE WHEN %(begin_again)s THEN 'pending' ELSE l.status END
  FROM run
  WHERE l.saga_id = %(saga_id)s AND l.step_idx = run.current_step_idx
),
journal AS (
  INSERT INTO saga_events (saga_id, seq, type, step_idx, data)
  SELECT
    run.id, run.seq, 'operator.retried', run.current_step_idx,
    jsonb_build_object(
      'status', run.status, 'waiting_for', NULL, 'what', CASE WHEN %(begin_again)s THEN 'step' ELSE 'probe' END,
      'who', %(who)s::text, 'reason', %(reason)s::text, 'request', %(request)s::text)
  FROM run
)
SELECT run.status
FROM run
