-- read: sagas that are not over, or that ended since, as they stand; those too that are over and do not say when
SELECT r.id::text AS saga_id
FROM saga_runs AS r
WHERE r.status IN ('pending', 'running', 'compensating') AND r.protocol_version >= 1
UNION ALL
SELECT r.id::text
FROM saga_runs AS r
WHERE
  r.status IN ('completed', 'rolled_back', 'failed')
  AND r.fence >= 0
  AND r.completed_at >= (SELECT coalesce(%(instant)s::timestamptz, clock_timestamp() - %(age)s::interval))
UNION ALL
SELECT r.id::text
FROM saga_runs AS r
WHERE r.status IN ('completed', 'rolled_back', 'failed') AND r.fence >= 0 AND r.completed_at IS NULL
