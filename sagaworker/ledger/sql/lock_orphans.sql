-- lock: candidates that are still orphans, in saga_id order, saga before episode; others are somebody else's business
SELECT r.id
FROM saga_runs AS r
JOIN episodes AS e ON e.saga_id = r.id AND e.fence = r.fence
JOIN unnest(%(saga_ids)s::uuid[], %(fences)s::bigint[]) AS asked (saga_id, fence)
  ON asked.saga_id = r.id AND asked.fence = r.fence
WHERE
  e.ended_at IS NULL
  AND (%(witnessed)s OR e.lease_until < clock_timestamp() - %(stale_after)s::interval)
ORDER BY r.id
FOR UPDATE OF r, e SKIP LOCKED
