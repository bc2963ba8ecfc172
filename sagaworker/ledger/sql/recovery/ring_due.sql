-- rings: runnable sagas that nobody holds and whose doorbell seems lost; the next ring is later each time
WITH due AS (
  SELECT r.id
  FROM saga_runs AS r
  WHERE
    r.status IN ('pending', 'running', 'compensating')
    AND r.wake_at IS NOT NULL
    AND r.wake_at <= statement_timestamp() - %(stale_after)s::interval
    AND r.waiting_for IS NULL
    AND r.archived_at IS NULL
    AND saga_in_scope(r.source_stack, r.source_env, %(source_stack)s::text, %(source_env)s::text)
    AND (%(saga_ids)s::uuid[] IS NULL OR r.id = ANY(%(saga_ids)s::uuid[]))
  ORDER BY r.wake_at
  LIMIT %(limit)s
  FOR UPDATE SKIP LOCKED
)
UPDATE saga_runs AS r
SET
  rings = least(r.rings, 1000) + 1,
  wake_at = statement_timestamp()
    + least(interval '5 minutes', %(ring_after)s::interval * power(2, least(r.rings, 20))) * (0.75 + random() * 0.5)
FROM due
WHERE r.id = due.id AND r.wake_at <= statement_timestamp() AND r.waiting_for IS NULL
RETURNING
  r.id::text AS saga_id, r.recoveries > 0 AS goes_first, r.kind, r.key, r.queue, r.priority, r.current_step_idx AS step_idx,
  CASE WHEN jsonb_typeof(r.step_modules) = 'array' THEN jsonb_array_length(r.step_modules) ELSE 0 END AS step_count
