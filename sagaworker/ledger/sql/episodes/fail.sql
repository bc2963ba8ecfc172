-- move: running -> compensating; running -> rolled_back
-- The walk stops going forward: the current step failed or is in doubt, or a cancel, a deadline or the ceiling of
-- recoveries was met between attempts. Undoing starts at the current row when it may have happened, else below it.
WITH found AS (
  SELECT
    r.id,
    CASE
      WHEN %(undo_self)s THEN %(idx)s::integer
      ELSE (
        SELECT max(l.step_idx)
        FROM saga_step_results AS l
        WHERE
          l.saga_id = %(saga_id)s
          AND l.step_idx < %(idx)s
          AND saga_wants_undo(l.status, l.in_doubt)
      ) END AS undo_idx
  FROM saga_runs AS r
  JOIN saga_step_results AS held ON held.saga_id = %(saga_id)s AND held.step_idx = %(idx)s
  WHERE
    r.id = %(saga_id)s
    AND r.fence = %(fence)s
    AND r.status = 'running'
    AND r.current_step_idx = %(idx)s
    AND held.status IN ('pending', 'running')
    AND held.attempts = %(attempts)s
    AND EXISTS (SELECT FROM saga_episodes AS e WHERE e.saga_id = %(saga_id)s AND e.fence = %(fence)s AND e.ended_at IS NULL)
),
run AS (
  UPDATE saga_runs AS r
  SET
    seq = r.seq + 1,
    status = CASE WHEN found.undo_idx IS NULL THEN 'rolled_back' ELSE 'compensating' END,
    current_step_idx = coalesce(found.undo_idx, r.current_step_idx),
    -- A saga whose cancel was accepted ends as cancelled, whatever its running step came to.
    error = jsonb_build_object(
      'reason', CASE WHEN r.cancel_requested THEN 'cancelled' ELSE %(reason)s::text END,
      'compensate_from_idx', found.undo_idx),
    error_class = CASE WHEN r.cancel_requested THEN 'cancelled' ELSE %(error_class)s END,
    waiting_for = CASE WHEN found.undo_idx IS NOT NULL THEN r.waiting_for END,
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
  WHERE r.id = found.id AND r.fence = %(fence)s AND r.status = 'running'
  RETURNING r.id, r.seq, r.status, r.waiting_for, r.error_class, found.undo_idx
),
failed AS (
  UPDATE saga_step_results AS l
  SET
    status = CASE
      WHEN run.undo_idx = l.step_idx THEN 'compensating'
      WHEN l.attempts > 0 THEN 'failed'
      ELSE l.status END,
    in_doubt = l.in_doubt + %(doubted)s::integer,
    error = coalesce(%(error)s::jsonb, l.error),
    deadline_at = CASE WHEN run.undo_idx = l.step_idx THEN statement_timestamp() + %(undo_timeout)s::interval END,
    fence = %(fence)s
  FROM run
  WHERE l.saga_id = %(saga_id)s AND l.step_idx = %(idx)s
),
undo AS (
  UPDATE saga_step_results AS l
  SET status = 'compensating', deadline_at = statement_timestamp() + %(undo_timeout)s::interval, fence = %(fence)s
  FROM run
  WHERE l.saga_id = %(saga_id)s AND l.step_idx = run.undo_idx AND run.undo_idx <> %(idx)s
),
episode AS (
  UPDATE saga_episodes AS e
  SET ended_at = statement_timestamp(), outcome = 'rolled_back'
  FROM run
  WHERE e.saga_id = %(saga_id)s AND e.fence = %(fence)s AND run.undo_idx IS NULL
),
journal AS (
  INSERT INTO saga_events (saga_id, seq, type, step_idx, data)
  SELECT
    run.id, run.seq, 'step.failed', %(idx)s,
    jsonb_build_object(
      'status', run.status, 'waiting_for', run.waiting_for, 'fence', %(fence)s, 'reason', %(reason)s::text,
      'error_class', run.error_class, 'doubted', %(doubted)s, 'attempt', %(attempts)s,
      'compensate_from_idx', run.undo_idx, 'error', %(error)s::jsonb)
  FROM run
)
SELECT run.status
FROM run
