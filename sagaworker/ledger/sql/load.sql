-- read: what a claimer must know before it claims; everything but the first line of columns is frozen at start
SELECT
  r.status, r.fence, r.current_step_idx AS idx,
  r.id::text AS saga_id, r.kind, r.key, r.step_modules, r.inputs, r.mode, r.queue, r.priority,
  (
    r.status IN ('pending', 'running', 'compensating')
    AND r.archived_at IS NULL
    AND (r.waiting_for IS NULL OR (r.waiting_for IN ('timer', 'retry', 'quarantine') AND r.wake_at <= now()))
    AND NOT EXISTS (SELECT FROM episodes AS e WHERE e.saga_id = r.id AND e.ended_at IS NULL)
  ) AS is_claimable
FROM saga_runs AS r
WHERE r.id = %(saga_id)s
