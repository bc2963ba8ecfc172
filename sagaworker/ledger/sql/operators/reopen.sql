-- move: failed -> running; failed -> compensating; failed -> rolled_back
-- An operator takes a failed saga up again: undos that failed are tried again, the highest first and with all their
-- tries; a saga that was given up as an orphan goes on from its step, or (with undo, or a cancel accepted) is undone,
-- which may mean that nothing is left to do.
WITH found AS (
  SELECT
    r.id,
    l.step_idx AS idx,
    undone.failed_idx,
    undone.failed_idx IS NULL AND NOT (%(undo)s OR r.cancel_requested) AS goes_on,
    CASE
      WHEN undone.failed_idx IS NOT NULL THEN undone.failed_idx
      WHEN NOT (%(undo)s OR r.cancel_requested) THEN NULL
      WHEN l.in_doubt > 0 AND l.status IN ('pending', 'failed') THEN l.step_idx
      ELSE (
        SELECT max(b.step_idx)
        FROM saga_step_results AS b
        WHERE
          b.saga_id = %(saga_id)s
          AND b.step_idx < l.step_idx
          AND (b.status = 'completed' OR (b.in_doubt > 0 AND b.status IN ('pending', 'failed')))
      ) END AS undo_idx
  FROM saga_runs AS r
  JOIN saga_step_results AS l ON l.saga_id = %(saga_id)s AND l.step_idx = r.current_step_idx
  CROSS JOIN LATERAL (
    SELECT max(c.step_idx) AS failed_idx
    FROM saga_step_results AS c
    WHERE c.saga_id = %(saga_id)s AND c.status = 'compensation_failed'
  ) AS undone
  WHERE
    r.id = %(saga_id)s AND r.status = 'failed' AND r.current_step_idx = %(idx)s AND r.archived_at IS NULL
),
run AS (
  UPDATE saga_runs AS r
  SET
    seq = r.seq + 1,
    status = CASE
      WHEN found.goes_on THEN 'running'
      WHEN found.undo_idx IS NULL THEN 'rolled_back'
      ELSE 'compensating' END,
    current_step_idx = coalesce(found.undo_idx, r.current_step_idx),
    waiting_for = NULL,
    rings = 0,
    wake_at = CASE
      WHEN found.goes_on OR found.undo_idx IS NOT NULL THEN statement_timestamp() + %(ring_after)s::interval END,
    completed_at = CASE WHEN NOT found.goes_on AND found.undo_idx IS NULL THEN statement_timestamp() END,
    -- What a saga goes on from has no error; what is undone keeps why.
    error = CASE
      WHEN found.goes_on THEN NULL
      WHEN found.failed_idx IS NULL THEN jsonb_build_object(
        'reason', CASE WHEN r.cancel_requested THEN 'cancelled' ELSE 'orphaned' END,
        'compensate_from_idx', found.undo_idx)
      ELSE r.error - 'not_undone' END,
    error_class = CASE
      WHEN found.goes_on THEN NULL
      WHEN found.failed_idx IS NULL AND r.cancel_requested THEN 'cancelled'
      ELSE r.error_class END
  FROM found
  WHERE r.id = found.id AND r.status = 'failed'
  RETURNING r.id, r.seq, r.status, found.idx, found.undo_idx, found.failed_idx, found.goes_on
),
ledger AS (
  UPDATE saga_step_results AS l
  SET
    status = CASE
      WHEN l.step_idx = run.undo_idx THEN 'compensating'
      -- A lower undo that failed too comes when it is reached, like any other.
      WHEN l.status = 'compensation_failed' AND l.completed_at IS NOT NULL THEN 'completed'
      WHEN l.status = 'compensation_failed' THEN 'failed'
      WHEN run.goes_on AND (%(begin_again)s OR l.in_doubt = 0) THEN 'pending'
      WHEN run.goes_on THEN 'running'
      WHEN l.status = 'pending' AND l.attempts > 0 THEN 'failed'
      ELSE l.status END,
    failed_attempts = CASE WHEN run.goes_on THEN 0 ELSE l.failed_attempts END,
    compensation_attempts = CASE WHEN l.status = 'compensation_failed' THEN 0 ELSE l.compensation_attempts END,
    compensation_recoveries = CASE WHEN l.status = 'compensation_failed' THEN 0 ELSE l.compensation_recoveries END,
    deadline_at = NULL
  FROM run
  WHERE
    l.saga_id = %(saga_id)s
    AND (l.step_idx IN (run.undo_idx, run.idx) OR l.status = 'compensation_failed')
),
journal AS (
  INSERT INTO saga_events (saga_id, seq, type, step_idx, data)
  SELECT
    run.id, run.seq, 'operator.retried', coalesce(run.undo_idx, run.idx),
    jsonb_build_object(
      'status', run.status, 'waiting_for', NULL,
      'what', CASE WHEN run.failed_idx IS NOT NULL THEN 'undo' WHEN run.goes_on THEN 'step' ELSE 'saga' END,
      'compensate_from_idx', run.undo_idx, 'who', %(who)s::text, 'reason', %(reason)s::text,
      'request', %(request)s::text)
  FROM run
)
SELECT run.status
FROM run
