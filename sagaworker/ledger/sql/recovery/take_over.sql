-- move: running -> running; running -> compensating; running -> rolled_back; running -> failed; compensating -> compensating
-- Raises the fence, closes the dead episode and applies the policy, all at once, for rows that lock_orphans.sql locked
-- in the same transaction. The lease and the fence are proven again here, on a fresh snapshot.
WITH asked AS (
  SELECT a.saga_id, a.fence, a.policy
  FROM unnest(%(saga_ids)s::uuid[], %(fences)s::bigint[], %(policies)s::text[]) AS a (saga_id, fence, policy)
),
found AS (
  SELECT
    r.id, asked.fence, l.step_idx AS idx, l.status AS row_status,
    -- A saga that is undoing always goes on undoing, whatever its policy.
    CASE WHEN r.status = 'compensating' THEN 'restart' ELSE asked.policy END AS policy,
    CASE
      WHEN l.status IN ('running', 'waiting') OR l.in_doubt > 0 THEN l.step_idx
      ELSE (
        SELECT max(b.step_idx)
        FROM saga_step_results AS b
        WHERE
          b.saga_id = r.id
          AND b.step_idx < l.step_idx
          AND saga_wants_undo(b.status, b.in_doubt)
      ) END AS undo_idx
  FROM asked
  JOIN saga_runs AS r ON r.id = asked.saga_id AND r.fence = asked.fence
  LEFT JOIN saga_step_results AS l ON l.saga_id = r.id AND l.step_idx = r.current_step_idx
  WHERE
    r.id = ANY(%(locked)s::uuid[])
    AND r.status IN ('running', 'compensating')
    AND EXISTS (
      SELECT
      FROM saga_episodes AS e
      WHERE
        e.saga_id = r.id
        AND e.fence = r.fence
        AND e.ended_at IS NULL
        AND (%(witnessed)s OR e.lease_until < clock_timestamp() - %(stale_after)s::interval)
      OFFSET 0
    )
),
run AS (
  UPDATE saga_runs AS r
  SET
    fence = r.fence + 1,
    seq = r.seq + 1,
    rings = 0,
    recoveries = r.recoveries + 1,
    status = CASE found.policy
      WHEN 'compensate' THEN CASE WHEN found.undo_idx IS NULL THEN 'rolled_back' ELSE 'compensating' END
      WHEN 'fail' THEN 'failed'
      ELSE r.status END,
    current_step_idx = CASE
      WHEN found.policy = 'compensate' THEN coalesce(found.undo_idx, r.current_step_idx)
      ELSE r.current_step_idx END,
    waiting_for = CASE
      WHEN found.policy = 'fail' OR (found.policy = 'compensate' AND found.undo_idx IS NULL) THEN NULL
      WHEN found.policy = 'hold' THEN 'hold'
      ELSE r.waiting_for END,
    wake_at = CASE
      WHEN found.policy IN ('fail', 'hold') OR (found.policy = 'compensate' AND found.undo_idx IS NULL) THEN NULL
      WHEN r.waiting_for IS NULL THEN statement_timestamp() + %(ring_after)s::interval END,
    completed_at = CASE
      WHEN found.policy = 'fail' OR (found.policy = 'compensate' AND found.undo_idx IS NULL) THEN statement_timestamp() END,
    error = CASE
      WHEN found.policy = 'fail' THEN jsonb_build_object('reason', 'orphaned', 'step_idx', found.idx)
      WHEN found.policy = 'compensate' THEN jsonb_build_object(
        'reason', CASE WHEN r.cancel_requested THEN 'cancelled' ELSE 'orphaned' END,
        'compensate_from_idx', found.undo_idx)
      ELSE r.error END,
    error_class = CASE
      WHEN found.policy = 'fail' THEN 'orphaned'
      WHEN found.policy = 'compensate' THEN CASE WHEN r.cancel_requested THEN 'cancelled' ELSE 'orphaned' END
      ELSE r.error_class END,
    context = CASE
      WHEN found.policy = 'fail' OR (found.policy = 'compensate' AND found.undo_idx IS NULL) THEN (
        SELECT coalesce(jsonb_object_agg(kv.key, kv.value ORDER BY l.step_idx), '{}')
        FROM saga_step_results AS l
        CROSS JOIN LATERAL jsonb_each(CASE WHEN jsonb_typeof(l.output) = 'object' THEN l.output ELSE '{}' END) AS kv
        WHERE l.saga_id = r.id AND l.output IS NOT NULL
      )
      ELSE r.context END
  FROM found
  WHERE r.id = found.id AND r.fence = found.fence
  RETURNING
    r.id, r.seq, r.fence, r.status, r.waiting_for, r.wake_at, r.kind, r.key, r.queue, r.priority, r.step_modules,
    r.current_step_idx, found.idx, found.row_status, found.policy, found.undo_idx, found.fence AS old_fence
),
ledger AS (
  UPDATE saga_step_results AS l
  SET
    status = CASE
      WHEN run.policy = 'compensate' AND run.undo_idx = l.step_idx THEN 'compensating'
      WHEN run.policy = 'fail' AND l.status IN ('running', 'waiting') THEN 'failed'
      WHEN run.policy = 'compensate' AND l.status = 'pending' AND l.attempts > 0 THEN 'failed'
      ELSE l.status END,
    recoveries = l.recoveries + (l.status = 'running')::integer,
    compensation_recoveries = l.compensation_recoveries + (l.status = 'compensating')::integer,
    -- Under restart the next claim puts the doubt on record; the other policies leave no next claim of a running row.
    in_doubt = l.in_doubt
      + (run.policy IN ('compensate', 'fail') AND l.status = 'running' AND l.deadline_at IS NOT NULL)::integer,
    -- Only an end that nobody witnessed, or that left processes behind, can still have late effects.
    quarantine_until = CASE
      WHEN l.status = 'running' AND %(may_go_on)s
        THEN greatest(l.quarantine_until, l.deadline_at + %(grace)s::interval)
      ELSE l.quarantine_until END,
    deadline_at = CASE
      WHEN run.policy = 'restart' OR run.policy = 'hold' THEN l.deadline_at END
  FROM run
  WHERE l.saga_id = run.id AND l.step_idx = run.idx
),
undo AS (
  UPDATE saga_step_results AS l
  SET status = 'compensating', deadline_at = NULL
  FROM run
  WHERE l.saga_id = run.id AND l.step_idx = run.undo_idx AND run.undo_idx <> run.idx AND run.policy = 'compensate'
),
episode AS (
  UPDATE saga_episodes AS e
  SET ended_at = statement_timestamp(), outcome = %(outcome)s
  FROM run
  WHERE e.saga_id = run.id AND e.fence = run.old_fence
),
journal AS (
  INSERT INTO saga_events (saga_id, seq, type, step_idx, data)
  SELECT
    run.id, run.seq, 'saga.taken_over', run.idx,
    jsonb_build_object(
      'status', run.status, 'waiting_for', run.waiting_for, 'fence', run.fence, 'outcome', %(outcome)s::text,
      'policy', run.policy, 'row', run.row_status, 'compensate_from_idx',
      CASE WHEN run.policy = 'compensate' THEN run.undo_idx END)
  FROM run
)
SELECT
  run.id::text AS saga_id, run.policy, run.status, run.waiting_for, run.kind, run.key, run.queue, run.priority,
  run.current_step_idx AS step_idx,
  CASE WHEN jsonb_typeof(run.step_modules) = 'array' THEN jsonb_array_length(run.step_modules) ELSE 0 END AS step_count
FROM run
