-- invariant 8: compensating => the row at the cursor is being undone, it alone, and nothing above it is left to undo
SELECT r.id AS saga_id, concat('row ', l.step_idx, ' is ', l.status, ', the cursor is ', r.current_step_idx) AS detail
FROM saga_runs AS r
JOIN saga_step_results AS l ON l.saga_id = r.id AND l.step_idx > r.current_step_idx
WHERE
  r.status = 'compensating'
  AND (l.status = 'completed' OR (l.in_doubt > 0 AND l.status IN ('pending', 'running', 'waiting', 'failed')))
UNION ALL
SELECT r.id, concat('row ', r.current_step_idx, ' at the cursor is ', coalesce(l.status, 'missing'))
FROM saga_runs AS r
LEFT JOIN saga_step_results AS l ON l.saga_id = r.id AND l.step_idx = r.current_step_idx
WHERE
  r.status = 'compensating'
  AND (l.status IS NULL OR l.status NOT IN ('compensating', 'compensation_failed'))
UNION ALL
SELECT r.id, concat('row ', l.step_idx, ' is compensating, the run is ', r.status, ' at ', r.current_step_idx)
FROM saga_step_results AS l
JOIN saga_runs AS r ON r.id = l.saga_id
WHERE
  l.status = 'compensating'
  AND r.status IN ('pending', 'running', 'compensating')
  AND (r.status <> 'compensating' OR l.step_idx <> r.current_step_idx)
