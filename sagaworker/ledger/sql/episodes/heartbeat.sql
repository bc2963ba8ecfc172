-- lease: extend the leases this process holds, in saga_id order; a row that does not come back is fenced
-- The cap is the deadline of the attempt on record plus grace. Once it has passed, the lease is extended no more, so a
-- hung step with a living heartbeat becomes an orphan. Before it, the whole lease is given: the next attempt, begun
-- between two beats, has a later cap and must not be cut short by this one.
-- A row that somebody else has locked is neither waited for, or one stranger's transaction would cost this process all
-- its leases, nor fenced: it comes back not extended, and the next beat asks again.
WITH asked AS (
  SELECT a.saga_id, a.fence
  FROM unnest(%(saga_ids)s::uuid[], %(fences)s::bigint[]) AS a (saga_id, fence)
  ORDER BY a.saga_id
),
held AS (
  SELECT e.saga_id, e.fence
  FROM asked
  CROSS JOIN LATERAL (
    SELECT e.saga_id, e.fence
    FROM saga_episodes AS e
    WHERE e.saga_id = asked.saga_id AND e.fence = asked.fence AND e.ended_at IS NULL
    FOR UPDATE SKIP LOCKED
  ) AS e
),
capped AS (
  SELECT
    held.saga_id, held.fence, r.cancel_requested,
    l.deadline_at + %(grace)s::interval AS lease_cap,
    coalesce(l.deadline_at + %(grace)s::interval <= clock_timestamp(), false) AS is_over
  FROM held
  JOIN saga_runs AS r ON r.id = held.saga_id
  LEFT JOIN saga_step_results AS l ON l.saga_id = r.id AND l.step_idx = r.current_step_idx
),
extended AS (
  UPDATE saga_episodes AS e
  SET
    lease_until = CASE WHEN capped.is_over THEN e.lease_until ELSE clock_timestamp() + %(lease)s::interval END,
    lease_cap = capped.lease_cap
  FROM capped
  WHERE e.saga_id = capped.saga_id AND e.fence = capped.fence
  RETURNING e.saga_id, e.fence, capped.cancel_requested, NOT capped.is_over AS is_extended
)
SELECT extended.saga_id::text AS saga_id, extended.fence, extended.cancel_requested, extended.is_extended
FROM extended
UNION ALL
SELECT passed.saga_id::text, passed.fence, r.cancel_requested, false
FROM (
  SELECT asked.saga_id, asked.fence
  FROM asked
  WHERE (asked.saga_id, asked.fence) NOT IN (SELECT held.saga_id, held.fence FROM held)
) AS passed
CROSS JOIN LATERAL (
  SELECT
  FROM saga_episodes AS e
  WHERE e.saga_id = passed.saga_id AND e.fence = passed.fence AND e.ended_at IS NULL
  OFFSET 0
) AS e
JOIN saga_runs AS r ON r.id = passed.saga_id
