-- read: one run, whole, and whether somebody may claim it
SELECT
  r.id::text AS id, r.kind, r.status, r.actor_id, r.key, r.waiting_for, r.wake_at, r.step_modules, r.definition_version,
  r.inputs,
  r.inputs_hash, r.context, r.current_step_idx, r.fence, r.recovery_policy, r.recoveries, r.max_recoveries,
  r.on_compensation_failure, r.cancel_requested, r.cancel_reason, r.error, r.error_class, r.trigger_type,
  r.trigger_ref, r.mode, r.conversation_id, r.attributes, r.queue, r.priority, r.source_stack, r.source_env,
  r.deadline_at, r.inserted_at, r.started_at, r.completed_at, r.archived_at, r.rings,
  (
    r.status IN ('pending', 'running', 'compensating')
    AND r.archived_at IS NULL
    AND (r.waiting_for IS NULL OR (r.waiting_for IN ('timer', 'retry', 'quarantine') AND r.wake_at <= statement_timestamp()))
    AND NOT EXISTS (SELECT FROM saga_episodes AS e WHERE e.saga_id = %(saga_id)s AND e.ended_at IS NULL)
  ) AS is_claimable
FROM saga_runs AS r
WHERE r.id = %(saga_id)s
