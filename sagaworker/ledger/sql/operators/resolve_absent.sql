-- move: running -> running
-- An operator knows that the step in doubt did not happen: its doubt is over, and the next claim begins it again (or,
-- where a cancel or the run's deadline came first, undoes only what came before it). Refused while a late effect of the
-- attempt that was given up may still come.
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
    AND r.waiting_for = 'operator'
    AND r.archived_at IS NULL
    AND held.saga_id = %(saga_id)s
    AND held.step_idx = r.current_step_idx
    AND held.status = 'running'
    AND held.deadline_at IS NULL
    AND coalesce(held.quarantine_until <= statement_timestamp(), true)
  RETURNING r.id, r.seq, r.status, r.current_step_idx, held.in_doubt
),
step AS (
  UPDATE saga_step_results AS l
  SET status = 'pending', in_doubt = 0
  FROM run
  WHERE l.saga_id = %(saga_id)s AND l.step_idx = run.current_step_idx
),
journal AS (
  INSERT INTO saga_events (saga_id, seq, type, step_idx, data)
  SELECT
    run.id, run.seq, 'operator.resolved', run.current_step_idx,
    jsonb_build_object(
      'status', run.status, 'waiting_for', NULL, 'answer', 'absent', 'in_doubt', run.in_doubt, 'who', %(who)s::text,
      'reason', %(reason)s::text, 'request', %(request)s::text)
  FROM run
)
SELECT run.status
FROM run
