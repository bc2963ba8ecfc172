-- notes: a definition of a kind; the same list of steps again keeps its place among the versions
INSERT INTO saga_definitions AS d (actor_id, kind, version, steps, recovery_policy, max_recoveries, options, source_env)
VALUES (
  %(actor_id)s, %(kind)s, %(version)s, %(steps)s::jsonb, %(recovery_policy)s::text, %(max_recoveries)s, %(options)s::jsonb,
  %(source_env)s
)
ON CONFLICT (kind, actor_id, version, source_env) DO UPDATE
SET recovery_policy = excluded.recovery_policy, max_recoveries = excluded.max_recoveries, options = excluded.options
WHERE
  (d.recovery_policy, d.max_recoveries, d.options)
  IS DISTINCT FROM (excluded.recovery_policy, excluded.max_recoveries, excluded.options)
RETURNING d.kind
