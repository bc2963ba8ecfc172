-- read: sagas that wake.sql (is_parked) or ring_due.sql would take now; no locks
SELECT r.id::text AS saga_id, r.fence
FROM saga_runs AS r
WHERE
  r.status IN ('pending', 'running', 'compensating')
  AND r.wake_at IS NOT NULL
  AND r.wake_at <= statement_timestamp() - %(stale_after)s::interval
  AND CASE WHEN %(is_parked)s THEN r.waiting_for IN ('timer', 'retry', 'quarantine') ELSE r.waiting_for IS NULL END
  AND r.archived_at IS NULL
  AND saga_in_scope(r.source_stack, r.source_env, %(source_stack)s::text, %(source_env)s::text)
ORDER BY r.wake_at
LIMIT %(limit)s
