-- invariant 18: no active, unowned saga that may run or waits for the clock was due over 3 sweeps ago, or is never due
SELECT
  r.id AS saga_id,
  concat(
    'it is ', r.status, ', waits for ', coalesce(r.waiting_for, 'nothing'),
    ' and was due ', coalesce(r.wake_at::text, 'never')) AS detail
FROM saga_runs AS r
LEFT JOIN saga_episodes AS e ON e.saga_id = r.id AND e.ended_at IS NULL
WHERE
  r.status IN ('pending', 'running', 'compensating')
  AND (r.waiting_for IS NULL OR r.waiting_for IN ('timer', 'retry', 'quarantine'))
  AND e.saga_id IS NULL
  AND (r.wake_at IS NULL OR r.wake_at < now() - 3 * %(sweep_interval)s::interval)
