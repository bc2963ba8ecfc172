-- move: running -> running; running -> completed; running -> compensating
-- The hot path. Everything that somebody without the fence may have written is on the run row and is read in its own
-- UPDATE, so a cancel or a hold that committed first is always seen, and one that comes later meets the new status.
WITH run AS (
  UPDATE saga_runs AS r
  SET
    seq = r.seq + 1,
    status = CASE
      WHEN r.cancel_requested OR r.deadline_at <= now() THEN 'compensating'
      WHEN %(is_last)s THEN 'completed'
      ELSE r.status END,
    current_step_idx = CASE
      WHEN r.cancel_requested OR r.deadline_at <= now() OR %(is_last)s THEN r.current_step_idx
      ELSE r.current_step_idx + 1 END,
    error = CASE
      WHEN r.cancel_requested THEN jsonb_build_object('reason', 'cancelled', 'compensate_from_idx', r.current_step_idx)
      WHEN r.deadline_at <= now() THEN
        jsonb_build_object('reason', 'timed_out', 'compensate_from_idx', r.current_step_idx)
      ELSE r.error END,
    error_class = CASE
      WHEN r.cancel_requested THEN 'cancelled'
      WHEN r.deadline_at <= now() THEN 'timed_out'
      ELSE r.error_class END,
    waiting_for = CASE
      WHEN %(is_last)s AND NOT (r.cancel_requested OR coalesce(r.deadline_at <= now(), false)) THEN NULL
      ELSE r.waiting_for END,
    completed_at = CASE
      WHEN %(is_last)s AND NOT (r.cancel_requested OR coalesce(r.deadline_at <= now(), false)) THEN now() END,
    context = CASE
      WHEN %(is_last)s AND NOT (r.cancel_requested OR coalesce(r.deadline_at <= now(), false))
        THEN (
        SELECT coalesce(jsonb_object_agg(kv.key, kv.value ORDER BY l.step_idx), '{}')
        FROM saga_step_results AS l
        CROSS JOIN LATERAL jsonb_each(l.output) AS kv
        WHERE l.saga_id = r.id AND l.output IS NOT NULL
      ) || %(output)s::jsonb
      ELSE r.context END
  FROM saga_step_results AS held
  WHERE
    r.id = %(saga_id)s
    AND r.fence = %(fence)s
    AND r.status = 'running'
    AND r.current_step_idx = %(idx)s
    AND held.saga_id = r.id
    AND held.step_idx = %(idx)s
    AND held.status = 'running'
    AND held.attempts = %(attempts)s
  RETURNING
    r.id, r.seq, r.status, r.current_step_idx, r.cancel_requested, r.waiting_for,
    coalesce(r.deadline_at <= now(), false) AS deadline_passed,
    r.waiting_for IS NOT NULL AND r.waiting_for = 'hold' AS on_hold
),
done AS (
  UPDATE saga_step_results AS l
  SET
    status = CASE WHEN run.status = 'compensating' THEN 'compensating' ELSE 'completed' END,
    output = %(output)s::jsonb,
    error = NULL,
    completed_at = now(),
    deadline_at = CASE WHEN run.status = 'compensating' THEN now() + %(undo_timeout)s::interval END,
    fence = %(fence)s
  FROM run
  WHERE l.saga_id = run.id AND l.step_idx = %(idx)s
),
following AS (
  INSERT INTO saga_step_results (saga_id, step_idx, step_name, status, attempts, fence, started_at, deadline_at)
  SELECT
    run.id, run.current_step_idx, %(next_name)s,
    CASE WHEN %(begin_next)s AND NOT run.on_hold THEN 'running' ELSE 'pending' END,
    (%(begin_next)s AND NOT run.on_hold)::integer,
    %(fence)s, CASE WHEN %(begin_next)s AND NOT run.on_hold THEN now() END,
    now() + CASE WHEN %(begin_next)s AND NOT run.on_hold THEN %(next_timeout)s::interval END
  FROM run
  WHERE run.status = 'running'
  RETURNING status, deadline_at
),
episode AS (
  UPDATE episodes AS e
  SET ended_at = now(), outcome = CASE WHEN run.status = 'completed' THEN 'completed' ELSE 'parked' END
  FROM run
  WHERE
    e.saga_id = run.id
    AND e.fence = %(fence)s
    AND (run.status = 'completed' OR (run.status = 'running' AND run.on_hold))
),
journal AS (
  INSERT INTO saga_events (saga_id, seq, type, step_idx, data)
  SELECT
    run.id, run.seq, 'step.completed', %(idx)s,
    jsonb_build_object(
      'status', run.status, 'waiting_for', run.waiting_for, 'fence', %(fence)s, 'attempt', %(attempts)s,
      'next', (SELECT following.status FROM following))
  FROM run
)
SELECT
  run.status, run.current_step_idx AS idx, run.cancel_requested, run.deadline_passed, run.on_hold,
  (SELECT following.status FROM following) AS next_status,
  (SELECT following.deadline_at FROM following) AS deadline_at
FROM run
