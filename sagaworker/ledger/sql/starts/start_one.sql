-- short form of start: none -> pending
-- What start.sql does with one run, its columns as parameters: to read a record set of one costs the server more.
WITH run AS (
  INSERT INTO saga_runs (
    id, actor_id, kind, key, status, wake_at, step_modules, inputs, inputs_hash, recovery_policy, max_recoveries,
    on_compensation_failure, trigger_type, trigger_ref, mode, overrides, trace, conversation_id, attributes, queue,
    priority, source_stack, source_env, deadline_at, definition_version
  ) VALUES (
    %(saga_id)s, %(actor_id)s, %(kind)s, %(key)s, 'pending', statement_timestamp() + %(ring_after)s::interval,
    %(step_modules)s::jsonb, %(inputs)s::jsonb, %(inputs_hash)s, %(recovery_policy)s, %(max_recoveries)s::integer,
    %(on_compensation_failure)s, %(trigger_type)s, %(trigger_ref)s::jsonb, %(mode)s, %(overrides)s::jsonb,
    %(trace)s::jsonb, %(conversation_id)s, %(attributes)s::jsonb, %(queue)s, %(priority)s::smallint, %(source_stack)s,
    %(source_env)s, %(deadline_at)s::timestamptz, %(definition_version)s
  )
  -- No target: a resend after an unknown commit meets its own id, a repeated request meets (kind, key).
  ON CONFLICT DO NOTHING
  RETURNING id, kind, key, jsonb_array_length(step_modules) AS steps,
    encode(sha256(convert_to(step_modules::text, 'UTF8')), 'hex') AS list_hash
)
INSERT INTO saga_events (saga_id, seq, type, data)
SELECT
  run.id, 1, 'saga.started',
  jsonb_build_object('status', 'pending', 'waiting_for', NULL, 'kind', run.kind, 'key', run.key, 'steps', run.steps,
    'list_hash', run.list_hash)
FROM run
RETURNING saga_id::text AS id
