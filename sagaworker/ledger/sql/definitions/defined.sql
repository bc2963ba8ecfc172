-- read: the current definition of each kind and actor of one environment: the newest version that is not disabled
SELECT DISTINCT ON (d.kind, d.actor_id)
  d.actor_id, d.kind, d.version, d.steps, d.recovery_policy, d.max_recoveries, d.options, d.inserted_at
FROM saga_definitions AS d
WHERE
  d.disabled_at IS NULL
  AND d.source_env IS NOT DISTINCT FROM %(source_env)s::text
  AND (%(kinds)s::text[] IS NULL OR d.kind = ANY(%(kinds)s::text[]))
ORDER BY d.kind, d.actor_id, d.inserted_at DESC
