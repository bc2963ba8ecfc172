-- read: open episodes of one owner (a process that is known to be dead)
SELECT e.saga_id::text AS saga_id, e.fence, r.recovery_policy, r.kind, r.actor_id, r.status
FROM episodes AS e
JOIN saga_runs AS r ON r.id = e.saga_id
WHERE e.ended_at IS NULL AND e.owner = %(owner)s AND r.fence = e.fence
