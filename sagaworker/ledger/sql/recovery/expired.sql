-- read: open episodes whose lease has expired, oldest first, page by page; no locks
SELECT
  e.saga_id::text AS saga_id, e.fence, r.recovery_policy, r.kind, r.actor_id, r.status, e.lease_until::text AS lease_until
FROM saga_episodes AS e
JOIN saga_runs AS r ON r.id = e.saga_id
WHERE
  e.ended_at IS NULL
  AND e.lease_until < (SELECT clock_timestamp() - %(stale_after)s::interval)
  AND (e.lease_until, e.saga_id) > (%(after_lease)s::timestamptz, %(after_id)s::uuid)
  AND (%(saga_id)s::uuid IS NULL OR e.saga_id = %(saga_id)s::uuid)
  AND r.fence = e.fence
  AND r.status IN ('running', 'compensating')
  AND r.archived_at IS NULL
  AND saga_in_scope(r.source_stack, r.source_env, %(source_stack)s::text, %(source_env)s::text)
ORDER BY e.lease_until, e.saga_id
LIMIT %(limit)s
