-- invariant 15: a row's fence is at most its run's and belongs to an episode
SELECT r.id AS saga_id, concat('row ', l.step_idx, ' has fence ', l.fence, ', the run has ', r.fence) AS detail
FROM saga_step_results AS l
JOIN saga_runs AS r ON r.id = l.saga_id
WHERE l.fence > r.fence
UNION ALL
SELECT l.saga_id, concat('row ', l.step_idx, ' has fence ', l.fence, ', which no episode has')
FROM saga_step_results AS l
LEFT JOIN saga_episodes AS e ON e.saga_id = l.saga_id AND e.fence = l.fence
WHERE e.saga_id IS NULL
