-- lease: extend the leases this process holds, in saga_id order; a row that does not come back is fenced
-- The cap is the deadline of the attempt on record plus grace. Once it has passed, the lease is extended no more, so a
-- hung step with a living heartbeat becomes an orphan. Before it, the whole lease is given: the next attempt, begun
-- between two beats, has a later cap and must not be cut short by this one.
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
    l.deadline_at + %(grace)s::interval AS lease_cap,
    coalesce(l.deadline_at + %(grace)s::interval <= clock_timestamp(), false) AS is_over
  FROM held
  JOIN saga_runs AS r ON r.id = held.saga_id
  LEFT JOIN saga_step_results AS l ON l.saga_id = r.id AND l.step_idx = r.current_step_idx
)
UPDATE episodes AS e
SET
  lease_until = CASE WHEN capped.is_over THEN e.lease_until ELSE clock_timestamp() + %(lease)s::interval END,
  lease_cap = capped.lease_cap
FROM capped
WHERE e.saga_id = capped.saga_id AND e.fence = capped.fence AND e.ended_at IS NULL
RETURNING e.saga_id::text AS saga_id, e.fence, capped.cancel_requested, NOT capped.is_over AS is_extended
