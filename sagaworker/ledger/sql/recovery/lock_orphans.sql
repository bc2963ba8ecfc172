-- lock: candidates that are still orphans, in saga_id order, saga before episode; others are somebody else's business
-- Row by row: as a join, its plan reads every open episode for each candidate if it was made while few were open.
SELECT r.id
FROM (
  SELECT a.saga_id, a.fence
  FROM unnest(%(saga_ids)s::uuid[], %(fences)s::bigint[]) AS a (saga_id, fence)
  ORDER BY a.saga_id
) AS asked
CROSS JOIN LATERAL (
  SELECT r.id, r.fence
  FROM saga_runs AS r
  WHERE r.id = asked.saga_id AND r.fence = asked.fence
  FOR UPDATE SKIP LOCKED
) AS r
CROSS JOIN LATERAL (
  SELECT
  FROM saga_episodes AS e
  WHERE
    e.saga_id = r.id
    AND e.fence = r.fence
    AND e.ended_at IS NULL
    AND (%(witnessed)s OR e.lease_until < clock_timestamp() - %(stale_after)s::interval)
  FOR UPDATE SKIP LOCKED
) AS e
