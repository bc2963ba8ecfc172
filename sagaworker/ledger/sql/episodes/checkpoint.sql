-- move: running -> running
-- A note of the running step about its own row; never status, cursor or another row.
WITH run AS (
  UPDATE saga_runs AS r
  SET seq = r.seq + 1
  FROM saga_step_results AS held
  WHERE
    r.id = %(saga_id)s
    AND r.fence = %(fence)s
    AND r.status = 'running'
    AND r.current_step_idx = %(idx)s
    AND held.saga_id = %(saga_id)s
    AND held.step_idx = %(idx)s
    AND held.status = 'running'
    AND held.fence = %(fence)s
    AND EXISTS (SELECT FROM saga_episodes AS e WHERE e.saga_id = %(saga_id)s AND e.fence = %(fence)s AND e.ended_at IS NULL)
  RETURNING r.id, r.seq, r.status, r.waiting_for
),
noted AS (
  UPDATE saga_step_results AS l
  SET checkpoint = %(checkpoint)s::jsonb
  FROM run
  WHERE l.saga_id = %(saga_id)s AND l.step_idx = %(idx)s
),
journal AS (
  INSERT INTO saga_events (saga_id, seq, type, step_idx, data)
  SELECT
    run.id, run.seq, 'step.noted', %(idx)s,
    jsonb_build_object('status', run.status, 'waiting_for', run.waiting_for, 'fence', %(fence)s)
  FROM run
)
SELECT run.status
FROM run
