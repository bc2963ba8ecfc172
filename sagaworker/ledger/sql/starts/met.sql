-- read: the runs that requests met instead of being stored: their own ids (a resend), or their (kind, key) in their environment
-- Two lookups, not one OR: no index serves a condition that is either of two.
WITH found AS (
  SELECT r.id
  FROM unnest(%(ids)s::uuid[]) AS a (id)
  JOIN saga_runs AS r ON r.id = a.id
  UNION
  SELECT r.id
  FROM unnest(%(kinds)s::text[], %(keys)s::text[], %(envs)s::text[]) AS a (kind, key, source_env)
  JOIN saga_runs AS r
    ON r.kind = a.kind AND r.key = a.key AND r.archived_at IS NULL
    AND r.source_env IS NOT DISTINCT FROM a.source_env
)
SELECT
  r.id::text AS id, r.kind, r.status, r.actor_id, r.key, r.waiting_for, r.wake_at, r.step_modules, r.definition_version,
  r.inputs,
  r.inputs_hash, r.context, r.current_step_idx, r.fence, r.recovery_policy, r.recoveries, r.max_recoveries,
  r.on_compensation_failure, r.cancel_requested, r.cancel_reason, r.error, r.error_class, r.trigger_type,
  r.trigger_ref, r.mode, r.conversation_id, r.attributes, r.queue, r.priority, r.source_stack, r.source_env,
  r.deadline_at, r.inserted_at, r.started_at, r.completed_at, r.archived_at
FROM found
JOIN saga_runs AS r ON r.id = found.id
