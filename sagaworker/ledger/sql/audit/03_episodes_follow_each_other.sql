-- invariant 3: the fences of a run's episodes ascend up to its own, and their intervals do not overlap
-- One second is forgiven: now() is taken when a statement arrives, and its snapshot a little later.
SELECT
  e.saga_id,
  concat('the episode of fence ', e.fence, ' ended after that of fence ', e.next_fence, ' began') AS detail
FROM (
  SELECT
    e.saga_id, e.fence, e.ended_at,
    lead(e.fence) OVER later AS next_fence,
    lead(e.started_at) OVER later AS next_started_at
  FROM saga_episodes AS e
  WINDOW later AS (PARTITION BY e.saga_id ORDER BY e.fence)
) AS e
WHERE e.ended_at > e.next_started_at + interval '1 second'
UNION ALL
SELECT e.saga_id, concat('an episode has fence ', e.fence, ', the run has ', r.fence)
FROM saga_episodes AS e
JOIN saga_runs AS r ON r.id = e.saga_id
WHERE e.fence > r.fence
