-- read: sagas that wake.sql (is_parked) or ring_due.sql would take now; no locks
SELECT r.id::text AS saga_id, r.fence
FROM saga_runs AS r
WHERE
  r.status IN ('pending', 'running', 'compensating')
  AND r.wake_at IS NOT NULL
  AND r.wake_at <= statement_timestamp() - %(stale_after)s::interval
  AND CASE WHEN %(is_parked)s THEN r.waiting_for IN ('timer', 'retry', 'quarantine') ELSE r.waiting_for IS NULL END
  AND r.archived_at IS NULL
  AND (%(source_stack)s::text IS NULL OR r.source_stack IS NULL OR r.source_stack = %(source_stack)s::text)
  AND r.source_env IS NOT DISTINCT FROM %(source_env)s::text
ORDER BY r.wake_at
LIMIT %(limit)s
