-- move: compensating -> compensating; compensating -> rolled_back; compensating -> failed
-- An operator declares the undo at which a saga halted done with: the row is skipped, and the walk goes on below it.
WITH found AS (
  SELECT
    r.id,
    r.current_step_idx AS idx,
    (
      SELECT max(l.step_idx)
      FROM saga_step_results AS l
      WHERE
        l.saga_id = %(saga_id)s
        AND l.step_idx < r.current_step_idx
        AND saga_wants_undo(l.status, l.in_doubt)
    ) AS undo_idx,
    (
      SELECT jsonb_agg(jsonb_build_object('idx', l.step_idx, 'name', l.step_name) ORDER BY l.step_idx)
      FROM saga_step_results AS l
      WHERE
        l.saga_id = %(saga_id)s AND l.status = 'compensation_failed' AND l.step_idx <> r.current_step_idx
    ) AS not_undone
  FROM saga_runs AS r
  JOIN saga_step_results AS held ON held.saga_id = %(saga_id)s AND held.step_idx = r.current_step_idx
  WHERE
    r.id = %(saga_id)s
    AND r.status = 'compensating'
    AND r.waiting_for = 'operator'
    AND r.archived_at IS NULL
    AND held.status = 'compensation_failed'
),
run AS (
  UPDATE saga_runs AS r
  SET
    seq = r.seq + 1,
    status = CASE
      WHEN found.undo_idx IS NOT NULL THEN r.status
      WHEN found.not_undone IS NOT NULL THEN 'failed'
      ELSE 'rolled_back' END,
    current_step_idx = coalesce(found.undo_idx, r.current_step_idx),
    waiting_for = NULL,
    rings = 0,
    wake_at = CASE WHEN found.undo_idx IS NOT NULL THEN statement_timestamp() + %(ring_after)s::interval END,
    error = (r.error - 'not_undone') || CASE
      WHEN found.not_undone IS NULL THEN '{}'::jsonb
      ELSE jsonb_build_object('not_undone', found.not_undone) END,
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
  WHERE r.id = found.id AND r.status = 'compensating'
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
      'status', run.status, 'waiting_for', NULL, 'what', 'undo', 'next_undo_idx', run.undo_idx, 'who', %(who)s::text,
      'reason', %(reason)s::text, 'request', %(request)s::text)
  FROM run
)
SELECT run.status
FROM run
