-- invariant 1: terminal <=> completed_at is set, and a terminal run has no open episode
SELECT
  r.id AS saga_id,
  concat('status is ', r.status, ', completed_at is ', coalesce(r.completed_at::text, 'null')) AS detail
FROM saga_runs AS r
WHERE (r.status IN ('completed', 'rolled_back', 'failed')) <> (r.completed_at IS NOT NULL)
UNION ALL
SELECT r.id, concat('status is ', r.status, ', the episode of fence ', e.fence, ' is open')
FROM saga_episodes AS e
JOIN saga_runs AS r ON r.id = e.saga_id
WHERE e.ended_at IS NULL AND r.status IN ('completed', 'rolled_back', 'failed')
