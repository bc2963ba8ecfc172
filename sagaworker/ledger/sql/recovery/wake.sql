-- move: running -> running; compensating -> compensating
-- Parked sagas whose time has come may run again; they are rung by the caller, and again by ring_due.sql if that is lost.
WITH due AS (
  SELECT r.id
  FROM saga_runs AS r
  WHERE
    r.status IN ('pending', 'running', 'compensating')
    AND r.wake_at IS NOT NULL
    AND r.wake_at <= statement_timestamp()
    AND r.waiting_for IN ('timer', 'retry', 'quarantine')
    AND r.archived_at IS NULL
    AND saga_in_scope(r.source_stack, r.source_env, %(source_stack)s::text, %(source_env)s::text)
    AND (%(saga_ids)s::uuid[] IS NULL OR r.id = ANY(%(saga_ids)s::uuid[]))
  ORDER BY r.wake_at
  LIMIT %(limit)s
  FOR UPDATE SKIP LOCKED
),
run AS (
  UPDATE saga_runs AS r
  SET seq = r.seq + 1, waiting_for = NULL, rings = 0, wake_at = statement_timestamp() + %(ring_after)s::interval
  FROM due
  WHERE r.id = due.id AND r.wake_at <= statement_timestamp() AND r.waiting_for IN ('timer', 'retry', 'quarantine')
  RETURNING r.id, r.seq, r.status, r.kind, r.key, r.queue, r.priority, r.current_step_idx, r.step_modules
),
journal AS (
  INSERT INTO saga_events (saga_id, seq, type, step_idx, data)
  SELECT run.id, run.seq, 'saga.woken', run.current_step_idx, jsonb_build_object('status', run.status, 'waiting_for', NULL)
  FROM run
)
SELECT
  run.id::text AS saga_id, run.kind, run.key, run.queue, run.priority, run.current_step_idx AS step_idx,
  CASE WHEN jsonb_typeof(run.step_modules) = 'array' THEN jsonb_array_length(run.step_modules) ELSE 0 END AS step_count
FROM run
