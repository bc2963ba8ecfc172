-- invariant 10: terminal => no row running, waiting or compensating
SELECT r.id AS saga_id, concat('row ', l.step_idx, ' is ', l.status, ', the run is ', r.status) AS detail
FROM saga_step_results AS l
JOIN saga_runs AS r ON r.id = l.saga_id
WHERE l.status IN ('running', 'waiting', 'compensating') AND r.status IN ('completed', 'rolled_back', 'failed')
