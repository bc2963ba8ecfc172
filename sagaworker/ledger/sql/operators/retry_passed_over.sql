-- move: pending -> pending; running -> running; compensating -> compensating
-- An operator has seen to it that a saga which no worker could run can be run now: it is rung, and rung again as often as
-- one that was just started.
WITH run AS (
  UPDATE saga_runs AS r
  SET
    seq = r.seq + 1,
    rings = 0,
    wake_at = statement_timestamp() + %(ring_after)s::interval
  WHERE
    r.id = %(saga_id)s
    AND r.status IN ('pending', 'running', 'compensating')
    AND r.waiting_for IS NULL
    AND r.archived_at IS NULL
    AND NOT EXISTS (SELECT FROM saga_episodes AS e WHERE e.saga_id = %(saga_id)s AND e.ended_at IS NULL)
    AND (
      SELECT j.type = 'saga.recovery_skipped'
      FROM saga_events AS j
      WHERE j.saga_id = %(saga_id)s
      ORDER BY j.seq DESC
      LIMIT 1
    )
  RETURNING r.id, r.seq, r.status, r.current_step_idx
),
journal AS (
  INSERT INTO saga_events (saga_id, seq, type, step_idx, data)
  SELECT
    run.id, run.seq, 'operator.retried', run.current_step_idx,
    jsonb_build_object(
      'status', run.status, 'waiting_for', NULL, 'what', 'ring', 'who', %(who)s::text, 'reason', %(reason)s::text,
      'request', %(request)s::text)
  FROM run
)
SELECT run.status
FROM run
