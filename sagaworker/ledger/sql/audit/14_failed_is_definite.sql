-- invariant 14: at rest, a row failed <=> it was begun, definite and never in doubt; or the run ended by policy fail
-- A TRANSACTIONAL one that was given up before it was in doubt is skipped: it was rolled back.
SELECT r.id AS saga_id, concat('row ', l.step_idx, ' is ', l.status, ', in doubt ', l.in_doubt, ' times') AS detail
FROM saga_step_results AS l
JOIN saga_runs AS r ON r.id = l.saga_id
WHERE
  r.status IN ('completed', 'rolled_back', 'failed')
  AND (
    (l.status = 'failed' AND (l.in_doubt > 0 OR l.attempts = 0 OR l.completed_at IS NOT NULL))
    OR (
      l.status NOT IN ('failed', 'running', 'waiting', 'compensating', 'skipped')
      AND l.attempts > 0
      AND l.in_doubt = 0
      AND l.completed_at IS NULL
    )
  )
  AND NOT EXISTS (
    SELECT
    FROM saga_events AS j
    WHERE j.saga_id = r.id AND j.type = 'saga.taken_over' AND j.data ->> 'policy' = 'fail'
  )
