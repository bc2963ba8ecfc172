-- invariant 9: rolled_back => every completed or doubted row compensated or skipped
SELECT r.id AS saga_id, concat('row ', l.step_idx, ' is ', l.status, ', in doubt ', l.in_doubt, ' times') AS detail
FROM saga_runs AS r
JOIN saga_step_results AS l ON l.saga_id = r.id
WHERE
  r.status = 'rolled_back'
  AND (l.completed_at IS NOT NULL OR l.in_doubt > 0)
  AND l.status NOT IN ('compensated', 'skipped')
