-- invariant 16: times are ordered
SELECT
  r.id AS saga_id,
  concat('the run was inserted ', r.inserted_at, ', started ', r.started_at, ', completed ', r.completed_at) AS detail
FROM saga_runs AS r
WHERE
  r.inserted_at > r.started_at
  OR coalesce(r.started_at, r.inserted_at) > r.completed_at
  OR r.completed_at > r.archived_at
UNION ALL
SELECT
  l.saga_id,
  concat(
    'row ', l.step_idx, ' started ', l.started_at, ', completed ', l.completed_at, ', undone ', l.compensated_at)
FROM saga_step_results AS l
WHERE
  l.started_at > l.completed_at
  OR coalesce(l.completed_at, l.started_at) > l.compensated_at
  OR (l.status = 'completed' AND l.completed_at IS NULL)
UNION ALL
SELECT e.saga_id, concat('the episode of fence ', e.fence, ' started ', e.started_at, ', ended ', e.ended_at)
FROM saga_episodes AS e
WHERE e.started_at > e.ended_at
