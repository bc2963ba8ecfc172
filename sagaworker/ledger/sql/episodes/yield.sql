-- move: running -> running; compensating -> compensating
-- The holder lets go politely. An attempt that it put on record and did not enter never happened, so it is taken back;
-- a running row that it inherited stays as it is, its doubt on record already.
WITH run AS (
  UPDATE saga_runs AS r
  SET
    seq = r.seq + 1,
    wake_at = CASE WHEN r.waiting_for IS NULL THEN statement_timestamp() + %(ring_after)s::interval END
  WHERE
    r.id = %(saga_id)s
    AND r.fence = %(fence)s
    AND r.status IN ('running', 'compensating')
    AND EXISTS (SELECT FROM saga_episodes AS e WHERE e.saga_id = %(saga_id)s AND e.fence = %(fence)s AND e.ended_at IS NULL)
  RETURNING r.id, r.seq, r.status, r.waiting_for, r.current_step_idx
),
taken_back AS (
  UPDATE saga_step_results AS l
  SET
    status = CASE WHEN l.status = 'running' AND %(begun)s THEN 'pending' ELSE l.status END,
    attempts = l.attempts - (l.status = 'running' AND %(begun)s)::integer,
    deadline_at = NULL,
    fence = %(fence)s
  FROM run
  WHERE l.saga_id = %(saga_id)s AND l.step_idx = run.current_step_idx
  RETURNING l.attempts
),
episode AS (
  UPDATE saga_episodes AS e
  SET ended_at = statement_timestamp(), outcome = 'yielded'
  FROM run
  WHERE e.saga_id = %(saga_id)s AND e.fence = %(fence)s
),
journal AS (
  INSERT INTO saga_events (saga_id, seq, type, step_idx, data)
  SELECT
    run.id, run.seq, 'saga.yielded', run.current_step_idx,
    jsonb_build_object(
      'status', run.status, 'waiting_for', run.waiting_for, 'fence', %(fence)s, 'taken_back', %(begun)s)
  FROM run
)
SELECT run.status
FROM run
