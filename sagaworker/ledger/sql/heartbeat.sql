-- lease: extend the leases this process holds, in saga_id order; a row that does not come back is fenced
-- The cap is the deadline of the attempt on record plus grace: a hung step with a living heartbeat becomes an orphan.
WITH held AS (
  SELECT e.saga_id, e.fence
  FROM episodes AS e
  JOIN unnest(%(saga_ids)s::uuid[], %(fences)s::bigint[]) AS asked (saga_id, fence)
    ON asked.saga_id = e.saga_id AND asked.fence = e.fence
  WHERE e.ended_at IS NULL
  ORDER BY e.saga_id
  FOR UPDATE OF e
),
capped AS (
  SELECT
    held.saga_id, held.fence, r.cancel_requested,
    (
      SELECT l.deadline_at
      FROM saga_step_results AS l
      WHERE l.saga_id = r.id AND l.step_idx = r.current_step_idx
    ) + %(grace)s::interval AS lease_cap
  FROM held
  JOIN saga_runs AS r ON r.id = held.saga_id
)
UPDATE episodes AS e
SET
  lease_until = least(clock_timestamp() + %(lease)s::interval, capped.lease_cap),
  lease_cap = capped.lease_cap
FROM capped
WHERE e.saga_id = capped.saga_id AND e.fence = capped.fence AND e.ended_at IS NULL
RETURNING e.saga_id::text AS saga_id, e.fence, capped.cancel_requested
