-- invariant 7: without depends_on, running with an open episode => nothing above the cursor was begun
SELECT r.id AS saga_id, concat('row ', l.step_idx, ' was begun, the cursor is ', r.current_step_idx) AS detail
FROM episodes AS e
JOIN saga_runs AS r ON r.id = e.saga_id
JOIN saga_step_results AS l ON l.saga_id = r.id AND l.step_idx > r.current_step_idx
WHERE
  e.ended_at IS NULL
  AND r.status = 'running'
  AND l.attempts > 0
  AND NOT jsonb_path_exists(r.step_modules, '$[*].depends_on')
