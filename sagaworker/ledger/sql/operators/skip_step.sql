-- move: running -> compensating; running -> rolled_back
-- An operator gives a step in doubt up without undoing it: the row is skipped, and what came before it is undone.
WITH found AS (
  SELECT
    r.id,
    r.current_step_idx AS idx,
    held.step_name,
    (
      SELECT max(l.step_idx)
      FROM saga_step_results AS l
      WHERE
        l.saga_id = %(saga_id)s
        AND l.step_idx < r.current_step_idx
        AND saga_wants_undo(l.status, l.in_doubt)
    ) AS undo_idx
  FROM saga_runs AS r
  JOIN saga_step_results AS held ON held.saga_id = %(saga_id)s AND held.step_idx = r.current_step_idx
  WHERE
    r.id = %(saga_id)s
    AND r.status = 'running'
    AND r.waiting_for = 'operator'
    AND r.archived_at IS NULL
    AND held.status = 'running'
    AND held.deadline_at IS NULL
),
run AS (
  UPDATE saga_runs AS r
  SET
    seq = r.seq + 1,
    status = CASE WHEN found.undo_idx IS NULL THEN 'rolled_back' ELSE 'compensating' END,
    current_step_idx = coalesce(found.undo_idx, r.current_step_idx),
    waiting_for = NULL,
    rings = 0,
    wake_at = CASE WHEN found.undo_idx IS NOT NULL THEN statement_timestamp() + %(ring_after)s::interval END,
    error = jsonb_build_object(
      'reason', CASE WHEN r.cancel_requested THEN 'cancelled' ELSE 'step_in_doubt:' || found.step_name END,
      'compensate_from_idx', found.undo_idx),
    error_class = CASE WHEN r.cancel_requested THEN 'cancelled' ELSE 'step_in_doubt' END,
    completed_at = CASE WHEN found.undo_idx IS NULL THEN statement_timestamp() END,
    context = CASE
      WHEN found.undo_idx IS NULL THEN (
        SELECT coalesce(jsonb_object_agg(kv.key, kv.value ORDER BY l.step_idx), '{}')
        FROM saga_step_results AS l
        CROSS JOIN LATERAL jsonb_each(l.output) AS kv
        WHERE l.saga_id = %(saga_id)s AND l.output IS NOT NULL
      )
      ELSE r.context END
  FROM found
  WHERE r.id = found.id AND r.status = 'running'
  RETURNING r.id, r.seq, r.status, found.idx, found.undo_idx
),
ledger AS (
  UPDATE saga_step_results AS l
  SET status = CASE WHEN l.step_idx = run.idx THEN 'skipped' ELSE 'compensating' END, deadline_at = NULL
  FROM run
  WHERE l.saga_id = %(saga_id)s AND l.step_idx IN (run.idx, run.undo_idx)
),
journal AS (
  INSERT INTO saga_events (saga_id, seq, type, step_idx, data)
  SELECT
    run.id, run.seq, 'operator.skipped', run.idx,
    jsonb_build_object(
      'status', run.status, 'waiting_for', NULL, 'what', 'step', 'compensate_from_idx', run.undo_idx,
      'who', %(who)s::text, 'reason', %(reason)s::text, 'request', %(request)s::text)
  FROM run
)
SELECT run.status
FROM run
