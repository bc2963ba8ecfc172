-- short form of claim: pending -> running
-- The first claim of a saga, without a read before it: the claimer was told the list of its steps, and its WHERE proves
-- that. A pending saga that nobody has claimed has no episode and no ledger row. No row: it is read, and claimed by claim.sql.
WITH run AS (
  UPDATE saga_runs AS r
  SET
    fence = 1,
    seq = r.seq + 1,
    rings = 0,
    wake_at = NULL,
    status = 'running',
    started_at = statement_timestamp()
  WHERE
    r.id = %(saga_id)s
    AND r.status = 'pending'
    AND r.fence = 0
    AND r.current_step_idx = %(idx)s
    AND r.archived_at IS NULL
    AND NOT r.cancel_requested
    AND (r.deadline_at IS NULL OR r.deadline_at > statement_timestamp())
    AND r.waiting_for IS NULL
    AND r.step_modules = %(step_modules)s::jsonb
  RETURNING
    r.kind, r.status, r.actor_id, r.key, r.waiting_for, r.wake_at, r.step_modules, r.definition_version, r.inputs,
    r.inputs_hash, r.context, r.current_step_idx, r.fence, r.recovery_policy, r.recoveries, r.max_recoveries,
    r.on_compensation_failure, r.cancel_requested, r.cancel_reason, r.error, r.error_class, r.trigger_type,
    r.trigger_ref, r.mode, r.conversation_id, r.attributes, r.queue, r.priority, r.source_stack, r.source_env,
    r.deadline_at, r.inserted_at, r.started_at, r.completed_at, r.archived_at, r.seq
),
ledger AS (
  INSERT INTO saga_step_results (saga_id, step_idx, step_name, status, attempts, fence, started_at, deadline_at)
  SELECT
    %(saga_id)s, %(idx)s, %(step_name)s, 'running', 1, 1, statement_timestamp(),
    statement_timestamp() + %(timeout)s::interval
  FROM run
),
episode AS (
  INSERT INTO saga_episodes (saga_id, fence, owner, host, pid, task_id, lease_until, lease_cap)
  SELECT
    %(saga_id)s, 1, %(owner)s, %(host)s, %(pid)s, %(task_id)s, clock_timestamp() + %(lease)s::interval,
    statement_timestamp() + %(timeout)s::interval + %(grace)s::interval
  FROM run
),
journal AS (
  INSERT INTO saga_events (saga_id, seq, type, step_idx, data)
  SELECT
    %(saga_id)s, run.seq, 'saga.claimed', %(idx)s,
    jsonb_build_object(
      'status', 'running', 'waiting_for', NULL, 'fence', 1, 'owner', %(owner)s::text, 'begun', true, 'attempt', 1,
      'in_doubt', 0)
  FROM run
)
SELECT
  %(saga_id)s::text AS id, run.kind, run.status, run.actor_id, run.key, run.waiting_for, run.wake_at, run.step_modules,
  run.definition_version, run.inputs, run.inputs_hash, run.context, run.current_step_idx, run.fence,
  run.recovery_policy, run.recoveries, run.max_recoveries, run.on_compensation_failure, run.cancel_requested,
  run.cancel_reason, run.error, run.error_class, run.trigger_type, run.trigger_ref, run.mode, run.conversation_id,
  run.attributes, run.queue, run.priority, run.source_stack, run.source_env, run.deadline_at, run.inserted_at,
  run.started_at, run.completed_at, run.archived_at, statement_timestamp() + %(timeout)s::interval AS step_deadline_at
FROM run
