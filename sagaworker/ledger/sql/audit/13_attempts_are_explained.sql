-- invariant 13: attempts <= 1 + recoveries + journaled retries, the operators' too; failed_attempts <= journaled retries
-- How many retries a step allows is in its module, and may have changed since; but every attempt after the first was
-- preceded by a journaled retry or by a takeover, whatever the module says.
SELECT l.saga_id, concat('row ', l.step_idx, ' has ', l.attempts, ' attempts, ', l.recoveries, ' recoveries') AS detail
FROM saga_step_results AS l
WHERE
  l.attempts > 1 + l.recoveries
  AND l.attempts > 1 + l.recoveries + (
    SELECT count(*)
    FROM saga_events AS j
    WHERE j.saga_id = l.saga_id AND j.step_idx = l.step_idx AND j.type IN ('step.retried', 'operator.retried')
  )
UNION ALL
SELECT l.saga_id, concat('row ', l.step_idx, ' has ', l.in_doubt, ' doubts and ', l.attempts, ' attempts')
FROM saga_step_results AS l
WHERE l.in_doubt > l.attempts
UNION ALL
SELECT l.saga_id, concat('row ', l.step_idx, ' has ', l.failed_attempts, ' failed attempts, its journal has fewer')
FROM saga_step_results AS l
WHERE
  l.failed_attempts > 0
  AND l.failed_attempts > (
    SELECT count(*)
    FROM saga_events AS j
    WHERE j.saga_id = l.saga_id AND j.step_idx = l.step_idx AND j.type = 'step.retried'
  )
