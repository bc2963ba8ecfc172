-- move: pending -> pending; running -> running; compensating -> compensating
-- An operator ends a hold. Whatever came meanwhile, a cancel or the run's deadline, acts at the next claim; what the saga
-- waited for before the hold (a retry, a quarantine) its next holder finds out again. One whose undo halted during the
-- hold waits for an operator from now on.
WITH found AS (
  SELECT
    r.id,
    l.status IS NOT DISTINCT FROM 'compensation_failed' AS has_halted,
    EXISTS (SELECT FROM saga_episodes AS e WHERE e.saga_id = %(saga_id)s AND e.ended_at IS NULL) AS is_held
  FROM saga_runs AS r
  LEFT JOIN saga_step_results AS l ON l.saga_id = %(saga_id)s AND l.step_idx = r.current_step_idx
  WHERE r.id = %(saga_id)s
),
run AS (
  UPDATE saga_runs AS r
  SET
    seq = r.seq + 1,
    waiting_for = CASE WHEN found.has_halted THEN 'operator' END,
    rings = 0,
    -- While its holder has not let go yet there is nobody to ring: it rings when it does.
    wake_at = CASE WHEN NOT found.has_halted AND NOT found.is_held THEN statement_timestamp() + %(ring_after)s::interval END
  FROM found
  WHERE
    r.id = found.id
    AND r.status IN ('pending', 'running', 'compensating')
    AND r.waiting_for = 'hold'
    AND r.archived_at IS NULL
  RETURNING r.id, r.seq, r.status, r.waiting_for, r.current_step_idx
),
journal AS (
  INSERT INTO saga_events (saga_id, seq, type, step_idx, data)
  SELECT
    run.id, run.seq, 'operator.released', run.current_step_idx,
    jsonb_build_object(
      'status', run.status, 'waiting_for', run.waiting_for, 'who', %(who)s::text, 'reason', %(reason)s::text,
      'request', %(request)s::text)
  FROM run
)
SELECT run.status
FROM run
