-- move: compensating -> compensating; compensating -> rolled_back; compensating -> failed
-- The undo of the current row ended for good: compensated, skipped, or compensation_failed (then the walk goes on, or
-- stops and waits for an operator when the saga says halt; one that is on hold does so when it is released).
WITH found AS (
  SELECT
    r.id,
    %(result)s = 'compensation_failed' AND r.on_compensation_failure = 'halt' AS halts,
    (
      SELECT max(l.step_idx)
      FROM saga_step_results AS l
      WHERE
        l.saga_id = %(saga_id)s
        AND l.step_idx < %(idx)s
        AND saga_wants_undo(l.status, l.in_doubt)
    ) AS undo_idx,
    (
      SELECT jsonb_agg(jsonb_build_object('idx', l.step_idx, 'name', l.step_name) ORDER BY l.step_idx)
      FROM saga_step_results AS l
      WHERE
        l.saga_id = %(saga_id)s
        AND (l.status = 'compensation_failed' OR (%(result)s = 'compensation_failed' AND l.step_idx = %(idx)s))
    ) AS not_undone
  FROM saga_runs AS r
  JOIN saga_step_results AS held ON held.saga_id = %(saga_id)s AND held.step_idx = %(idx)s
  WHERE
    r.id = %(saga_id)s
    AND r.fence = %(fence)s
    AND r.status = 'compensating'
    AND r.current_step_idx = %(idx)s
    AND held.status = 'compensating'
    AND EXISTS (SELECT FROM saga_episodes AS e WHERE e.saga_id = %(saga_id)s AND e.fence = %(fence)s AND e.ended_at IS NULL)
),
run AS (
  UPDATE saga_runs AS r
  SET
    seq = r.seq + 1,
    status = CASE
      WHEN found.halts OR found.undo_idx IS NOT NULL THEN r.status
      WHEN found.not_undone IS NOT NULL THEN 'failed'
      ELSE 'rolled_back' END,
    current_step_idx = CASE WHEN found.halts THEN r.current_step_idx ELSE coalesce(found.undo_idx, %(idx)s) END,
    error = CASE
      WHEN found.not_undone IS NOT NULL
        THEN coalesce(r.error, '{}') || jsonb_build_object('not_undone', found.not_undone)
      ELSE r.error END,
    waiting_for = CASE
      WHEN found.halts AND r.waiting_for IS NULL THEN 'operator'
      WHEN found.halts OR found.undo_idx IS NOT NULL THEN r.waiting_for END,
    completed_at = CASE WHEN NOT found.halts AND found.undo_idx IS NULL THEN statement_timestamp() END,
    context = CASE
      WHEN NOT found.halts AND found.undo_idx IS NULL THEN (
        SELECT coalesce(jsonb_object_agg(kv.key, kv.value ORDER BY l.step_idx), '{}')
        FROM saga_step_results AS l
        CROSS JOIN LATERAL jsonb_each(l.output) AS kv
        WHERE l.saga_id = %(saga_id)s AND l.output IS NOT NULL
      )
      ELSE r.context END
  FROM found
  WHERE r.id = found.id AND r.fence = %(fence)s AND r.status = 'compensating'
  RETURNING r.id, r.seq, r.status, r.waiting_for, found.undo_idx, found.halts
),
undone AS (
  UPDATE saga_step_results AS l
  SET
    status = %(result)s,
    compensation_attempts = l.compensation_attempts + %(attempted)s::integer,
    compensated_at = CASE WHEN %(result)s = 'compensated' THEN statement_timestamp() END,
    error = coalesce(%(error)s::jsonb, l.error),
    deadline_at = NULL,
    fence = %(fence)s
  FROM run
  WHERE l.saga_id = %(saga_id)s AND l.step_idx = %(idx)s
),
undo AS (
  UPDATE saga_step_results AS l
  SET status = 'compensating', deadline_at = statement_timestamp() + %(undo_timeout)s::interval, fence = %(fence)s
  FROM run
  WHERE l.saga_id = %(saga_id)s AND l.step_idx = run.undo_idx AND NOT run.halts
),
episode AS (
  UPDATE saga_episodes AS e
  SET ended_at = statement_timestamp(), outcome = CASE WHEN run.halts THEN 'parked' ELSE run.status END
  FROM run
  WHERE e.saga_id = %(saga_id)s AND e.fence = %(fence)s AND (run.halts OR run.undo_idx IS NULL)
),
journal AS (
  INSERT INTO saga_events (saga_id, seq, type, step_idx, data)
  SELECT
    run.id, run.seq, 'step.' || %(result)s, %(idx)s,
    jsonb_build_object(
      'status', run.status, 'waiting_for', run.waiting_for, 'fence', %(fence)s, 'next_undo_idx', run.undo_idx,
      'error', %(error)s::jsonb)
  FROM run
)
SELECT run.status
FROM run
