-- move: pending -> pending; running -> running; compensating -> compensating
-- An operator ends a hold. Whatever came meanwhile, a cancel or the run's deadline, acts at the next claim; what the saga
-- waited for before the hold (a retry, a quarantine) its next holder finds out again.
WITH run AS (
  UPDATE saga_runs AS r
  SET
    seq = r.seq + 1,
    waiting_for = NULL,
    rings = 0,
    -- While its holder has not let go yet there is nobody to ring: it rings when it does.
    wake_at = CASE
      WHEN NOT EXISTS (SELECT FROM episodes AS e WHERE e.saga_id = %(saga_id)s AND e.ended_at IS NULL)
        THEN statement_timestamp() + %(ring_after)s::interval END
  WHERE
    r.id = %(saga_id)s
    AND r.status IN ('pending', 'running', 'compensating')
    AND r.waiting_for = 'hold'
    AND r.archived_at IS NULL
  RETURNING r.id, r.seq, r.status, r.current_step_idx
),
journal AS (
  INSERT INTO saga_events (saga_id, seq, type, step_idx, data)
  SELECT
    run.id, run.seq, 'operator.released', run.current_step_idx,
    jsonb_build_object(
      'status', run.status, 'waiting_for', NULL, 'who', %(who)s::text, 'reason', %(reason)s::text,
      'request', %(request)s::text)
  FROM run
)
SELECT run.status
FROM run
