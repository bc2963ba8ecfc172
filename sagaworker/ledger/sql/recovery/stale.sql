-- read: runs that seem abandoned: an open episode past its lease, or nobody's and due, both by stale_after
SELECT e.saga_id::text AS saga_id
FROM saga_episodes AS e
JOIN saga_runs AS r ON r.id = e.saga_id
WHERE
  e.ended_at IS NULL
  AND e.lease_until < (SELECT clock_timestamp() - %(stale_after)s::interval)
  AND r.fence = e.fence
  AND r.status IN ('running', 'compensating')
  AND r.archived_at IS NULL
  AND saga_in_scope(r.source_stack, r.source_env, %(source_stack)s::text, %(source_env)s::text)
UNION ALL
SELECT r.id::text
FROM saga_runs AS r
WHERE
  r.status IN ('pending', 'running', 'compensating')
  AND r.wake_at IS NOT NULL
  AND r.wake_at <= (SELECT clock_timestamp() - %(stale_after)s::interval)
  AND r.waiting_for IS NULL
  AND r.archived_at IS NULL
  AND NOT EXISTS (SELECT FROM saga_episodes AS e WHERE e.saga_id = r.id AND e.ended_at IS NULL OFFSET 0)
  AND saga_in_scope(r.source_stack, r.source_env, %(source_stack)s::text, %(source_env)s::text)
LIMIT %(limit)s
