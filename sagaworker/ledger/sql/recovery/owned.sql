-- read: open episodes of one owner (a process that is known to be dead)
WITH owned AS MATERIALIZED (
  SELECT e.saga_id, e.fence
  FROM saga_episodes AS e
  WHERE e.ended_at IS NULL AND e.owner = %(owner)s
)
SELECT owned.saga_id::text AS saga_id, owned.fence, r.recovery_policy, r.kind, r.actor_id, r.status
FROM owned
JOIN saga_runs AS r ON r.id = owned.saga_id AND r.fence = owned.fence
