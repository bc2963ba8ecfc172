-- move: running -> running; running -> compensating; running -> completed
-- An operator knows that the step in doubt happened, and with which outputs: as if it had completed, no attempt counted.
-- The next step is recorded, so that there is a row at the cursor, and begun by the next claim. Where a cancel or the run's
-- deadline came first, the undo begins at this row.
WITH run AS (
  UPDATE saga_runs AS r
  SET
    seq = r.seq + 1,
    status = CASE
      WHEN saga_must_stop(r.cancel_requested, r.deadline_at) THEN 'compensating'
      WHEN %(next_name)s::text IS NULL THEN 'completed'
      ELSE r.status END,
    current_step_idx = r.current_step_idx + CASE
      WHEN saga_must_stop(r.cancel_requested, r.deadline_at) OR %(next_name)s::text IS NULL THEN 0
      ELSE 1 END,
    waiting_for = NULL,
    rings = 0,
    wake_at = CASE
      WHEN saga_must_stop(r.cancel_requested, r.deadline_at) OR %(next_name)s::text IS NOT NULL
        THEN statement_timestamp() + %(ring_after)s::interval END,
    error = CASE
      WHEN r.cancel_requested THEN jsonb_build_object('reason', 'cancelled', 'compensate_from_idx', r.current_step_idx)
      WHEN r.deadline_at <= statement_timestamp()
        THEN jsonb_build_object('reason', 'timed_out', 'compensate_from_idx', r.current_step_idx)
      ELSE r.error END,
    error_class = CASE
      WHEN r.cancel_requested THEN 'cancelled'
      WHEN r.deadline_at <= statement_timestamp() THEN 'timed_out'
      ELSE r.error_class END,
    completed_at = CASE
      WHEN saga_must_stop(r.cancel_requested, r.deadline_at) OR %(next_name)s::text IS NOT NULL THEN NULL
      ELSE statement_timestamp() END,
    context = CASE
      WHEN saga_must_stop(r.cancel_requested, r.deadline_at) OR %(next_name)s::text IS NOT NULL
        THEN r.context
      ELSE (
        SELECT coalesce(jsonb_object_agg(kv.key, kv.value ORDER BY l.step_idx), '{}')
        FROM (
          SELECT b.step_idx, b.output
          FROM saga_step_results AS b
          WHERE b.saga_id = %(saga_id)s AND b.output IS NOT NULL AND b.step_idx < r.current_step_idx
          UNION ALL
          SELECT r.current_step_idx, %(output)s::jsonb
        ) AS l (step_idx, output)
        CROSS JOIN LATERAL jsonb_each(l.output) AS kv
      ) END
  FROM saga_step_results AS held
  WHERE
    r.id = %(saga_id)s
    AND r.status = 'running'
    AND r.waiting_for = 'operator'
    AND r.archived_at IS NULL
    AND r.current_step_idx = %(idx)s
    AND held.saga_id = %(saga_id)s
    AND held.step_idx = r.current_step_idx
    AND held.status = 'running'
    AND held.deadline_at IS NULL
  RETURNING r.id, r.seq, r.status, held.fence
),
done AS (
  UPDATE saga_step_results AS l
  SET
    status = CASE WHEN run.status = 'compensating' THEN 'compensating' ELSE 'completed' END,
    output = %(output)s::jsonb,
    error = NULL,
    completed_at = statement_timestamp()
  FROM run
  WHERE l.saga_id = %(saga_id)s AND l.step_idx = %(idx)s
),
following AS (
  INSERT INTO saga_step_results (saga_id, step_idx, step_name, status, fence)
  SELECT %(saga_id)s, %(idx)s + 1, %(next_name)s, 'pending', run.fence
  FROM run
  WHERE run.status = 'running'
),
journal AS (
  INSERT INTO saga_events (saga_id, seq, type, step_idx, data)
  SELECT
    run.id, run.seq, 'operator.resolved', %(idx)s,
    jsonb_build_object(
      'status', run.status, 'waiting_for', NULL, 'answer', 'happened', 'who', %(who)s::text,
      'reason', %(reason)s::text, 'request', %(request)s::text)
  FROM run
)
SELECT run.status
FROM run
