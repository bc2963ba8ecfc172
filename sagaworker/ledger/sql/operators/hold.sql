-- move: pending -> pending; running -> running; compensating -> compensating
-- An operator lets nothing new begin. A saga that somebody holds gets the flag: its holder reads it in every move, ends
-- the step or undo that it is in, and lets go.
WITH run AS (
  UPDATE saga_runs AS r
  SET seq = r.seq + 1, waiting_for = 'hold', wake_at = NULL
  WHERE
    r.id = %(saga_id)s
    AND r.status IN ('pending', 'running', 'compensating')
    AND (r.waiting_for IS NULL OR r.waiting_for IN ('timer', 'retry', 'quarantine'))
    AND r.archived_at IS NULL
  RETURNING r.id, r.seq, r.status, r.waiting_for, r.current_step_idx
),
journal AS (
  INSERT INTO saga_events (saga_id, seq, type, step_idx, data)
  SELECT
    run.id, run.seq, 'operator.held', run.current_step_idx,
    jsonb_build_object(
      'status', run.status, 'waiting_for', run.waiting_for, 'who', %(who)s::text, 'reason', %(reason)s::text,
      'request', %(request)s::text)
  FROM run
)
SELECT run.status
FROM run
