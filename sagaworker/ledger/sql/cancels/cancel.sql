-- move: pending -> pending; pending -> rolled_back; running -> running; running -> compensating; running -> rolled_back
-- Not fenced: anybody may cancel. A saga that a worker holds gets the flag, which the worker reads in every move. The undo
-- of a saga that no worker holds begins here. A saga on hold, with an operator or with children keeps waiting, and the flag acts when it ends.
-- Asked again, nothing changes but the journal: who asked, and why.
WITH found AS (
  SELECT
    r.id,
    l.step_idx AS idx,
    r.cancel_requested OR r.status = 'running' AND (
      EXISTS (SELECT FROM saga_episodes AS e WHERE e.saga_id = %(saga_id)s AND e.ended_at IS NULL)
      OR coalesce(r.waiting_for IN ('hold', 'operator', 'children'), false)
    ) OR r.status = 'pending' AND r.waiting_for IS NOT NULL AS flag_only,
    CASE
      WHEN l.attempts > 0 AND (l.status IN ('running', 'waiting') OR l.in_doubt > 0 OR l.wait IS NOT NULL)
        THEN l.step_idx
      ELSE (
        SELECT max(b.step_idx)
        FROM saga_step_results AS b
        WHERE
          b.saga_id = %(saga_id)s
          AND b.step_idx < l.step_idx
          AND saga_wants_undo(b.status, b.in_doubt)
      ) END AS undo_idx
  FROM saga_runs AS r
  LEFT JOIN saga_step_results AS l ON l.saga_id = %(saga_id)s AND l.step_idx = r.current_step_idx
  WHERE r.id = %(saga_id)s AND r.status IN ('pending', 'running') AND r.archived_at IS NULL
),
run AS (
  UPDATE saga_runs AS r
  SET
    seq = r.seq + 1,
    cancel_requested = true,
    cancel_reason = CASE WHEN r.cancel_requested THEN r.cancel_reason ELSE %(reason)s END,
    status = CASE
      WHEN found.flag_only THEN r.status
      WHEN found.undo_idx IS NULL THEN 'rolled_back'
      ELSE 'compensating' END,
    current_step_idx = CASE
      WHEN found.flag_only THEN r.current_step_idx
      ELSE coalesce(found.undo_idx, r.current_step_idx) END,
    waiting_for = CASE WHEN found.flag_only THEN r.waiting_for END,
    wake_at = CASE
      WHEN found.flag_only THEN r.wake_at
      WHEN found.undo_idx IS NOT NULL THEN statement_timestamp() + %(ring_after)s::interval END,
    error = CASE
      WHEN found.flag_only THEN r.error
      ELSE jsonb_build_object('reason', 'cancelled', 'compensate_from_idx', found.undo_idx) END,
    error_class = CASE WHEN found.flag_only THEN r.error_class ELSE 'cancelled' END,
    context = CASE
      WHEN NOT found.flag_only AND found.undo_idx IS NULL THEN (
        SELECT coalesce(jsonb_object_agg(kv.key, kv.value ORDER BY l.step_idx), '{}')
        FROM saga_step_results AS l
        CROSS JOIN LATERAL jsonb_each(l.output) AS kv
        WHERE l.saga_id = %(saga_id)s AND l.output IS NOT NULL
      )
      ELSE r.context END,
    completed_at = CASE WHEN NOT found.flag_only AND found.undo_idx IS NULL THEN statement_timestamp() END
  FROM found
  WHERE r.id = found.id
  RETURNING r.id, r.seq, r.status, r.waiting_for, found.idx, found.undo_idx, found.flag_only
),
stopped AS (
  UPDATE saga_step_results AS l
  SET
    status = CASE
      WHEN run.undo_idx = l.step_idx THEN 'compensating'
      WHEN l.attempts > 0 THEN 'failed'
      ELSE l.status END,
    in_doubt = l.in_doubt + (l.status = 'running' AND l.deadline_at IS NOT NULL)::integer,
    deadline_at = NULL
  FROM run
  WHERE l.saga_id = %(saga_id)s AND l.step_idx = run.idx AND NOT run.flag_only
),
undo AS (
  UPDATE saga_step_results AS l
  SET status = 'compensating', deadline_at = NULL
  FROM run
  WHERE l.saga_id = %(saga_id)s AND l.step_idx = run.undo_idx AND run.undo_idx <> run.idx AND NOT run.flag_only
),
journal AS (
  INSERT INTO saga_events (saga_id, seq, type, step_idx, data)
  SELECT
    run.id, run.seq, 'saga.cancel_requested', run.idx,
    jsonb_build_object(
      'status', run.status, 'waiting_for', run.waiting_for, 'class', 'cancelled', 'reason', %(reason)s::text,
      'who', %(who)s::text, 'request', %(request)s::text, 'compensate_from_idx', run.undo_idx)
  FROM run
)
SELECT run.status, run.flag_only
FROM run
