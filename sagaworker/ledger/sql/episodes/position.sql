-- read: where a held saga stands, and whether the asking episode still holds it
SELECT
  r.fence, r.status, r.current_step_idx AS idx, r.cancel_requested,
  coalesce(r.deadline_at <= statement_timestamp(), false) AS deadline_passed, r.max_recoveries,
  r.waiting_for IS NOT NULL AND r.waiting_for = 'hold' AS on_hold,
  EXISTS (
    SELECT
    FROM saga_episodes AS e
    WHERE e.saga_id = %(saga_id)s AND e.fence = %(fence)s AND e.owner = %(owner)s AND e.ended_at IS NULL
  ) AS is_open,
  l.status AS row_status, l.attempts, l.failed_attempts, l.in_doubt, l.recoveries, l.compensation_attempts, l.compensation_recoveries,
  l.completed_at IS NOT NULL AS has_completed, l.fence AS row_fence, l.deadline_at, l.checkpoint,
  coalesce(greatest(extract(epoch FROM l.quarantine_until - statement_timestamp()), 0), 0)::float8 AS quarantine
FROM saga_runs AS r
JOIN saga_step_results AS l ON l.saga_id = %(saga_id)s AND l.step_idx = r.current_step_idx
WHERE r.id = %(saga_id)s
