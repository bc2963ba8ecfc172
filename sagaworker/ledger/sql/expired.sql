-- read: open episodes whose lease has expired, oldest first; no locks
SELECT e.saga_id::text AS saga_id, e.fence, r.recovery_policy, r.kind, r.actor_id, r.status
FROM episodes AS e
JOIN saga_runs AS r ON r.id = e.saga_id
WHERE e.ended_at IS NULL AND e.lease_until < clock_timestamp() - %(stale_after)s::interval AND r.fence = e.fence
  AND r.status IN ('running', 'compensating')
ORDER BY e.lease_until
LIMIT %(limit)s
