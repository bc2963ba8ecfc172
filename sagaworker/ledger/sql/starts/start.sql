-- move: none -> pending
WITH run AS (
  INSERT INTO saga_runs (
    id, actor_id, kind, key, status, wake_at, step_modules, inputs, inputs_hash, recovery_policy, max_recoveries,
    on_compensation_failure, trigger_type, trigger_ref, mode, overrides, trace, conversation_id, attributes, queue,
    priority, source_stack, source_env, deadline_at, definition_version
  )
  SELECT
    a.id, a.actor_id, a.kind, a.key, 'pending', statement_timestamp() + %(ring_after)s, a.step_modules, a.inputs, a.inputs_hash,
    a.recovery_policy, a.max_recoveries, a.on_compensation_failure, a.trigger_type, a.trigger_ref, a.mode,
    a.overrides, a.trace, a.conversation_id, a.attributes, a.queue, a.priority, a.source_stack, a.source_env,
    a.deadline_at, a.definition_version
  FROM jsonb_to_recordset(%(runs)s::jsonb) AS a (
    id uuid, actor_id text, kind text, key text, step_modules jsonb, inputs jsonb, inputs_hash text,
    recovery_policy text, max_recoveries integer, on_compensation_failure text, trigger_type text, trigger_ref jsonb,
    mode text, overrides jsonb, trace jsonb, conversation_id text, attributes jsonb, queue text, priority smallint,
    source_stack text, source_env text, deadline_at timestamptz, definition_version text
  )
  -- No target: a resend after an unknown commit meets its own id, a repeated request meets (kind, key).
  ON CONFLICT DO NOTHING
  RETURNING id, kind, key, inserted_at, jsonb_array_length(step_modules) AS steps,
    encode(sha256(convert_to(step_modules::text, 'UTF8')), 'hex') AS list_hash
),
journal AS (
  INSERT INTO saga_events (saga_id, seq, type, data)
  SELECT
    run.id, 1, 'saga.started',
    jsonb_build_object('status', 'pending', 'waiting_for', NULL, 'kind', run.kind, 'key', run.key, 'steps', run.steps,
      'list_hash', run.list_hash)
  FROM run
)
SELECT run.id::text AS id
FROM run
