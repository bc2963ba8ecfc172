-- invariant 7: running => the cursor's row is pending, running or waiting; held, no depends_on => none above was begun
SELECT r.id AS saga_id, concat('row ', l.step_idx, ' was begun, the cursor is ', r.current_step_idx) AS detail
FROM saga_episodes AS e
JOIN saga_runs AS r ON r.id = e.saga_id
JOIN saga_step_results AS l ON l.saga_id = r.id AND l.step_idx > r.current_step_idx
WHERE
  e.ended_at IS NULL
  AND r.status = 'running'
  AND l.attempts > 0
  AND NOT jsonb_path_exists(r.step_modules, '$[*].depends_on')
UNION ALL
SELECT r.id, concat('row ', r.current_step_idx, ' at the cursor is ', coalesce(l.status, 'missing'))
FROM saga_runs AS r
LEFT JOIN saga_step_results AS l ON l.saga_id = r.id AND l.step_idx = r.current_step_idx
WHERE r.status = 'running' AND (l.status IS NULL OR l.status NOT IN ('pending', 'running', 'waiting'))
