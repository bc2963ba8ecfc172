-- move: pending -> pending; running -> running; compensating -> compensating
-- A saga that cannot be run or recovered now: its journal says why and who tried. Tried again with nothing in between, the
-- same row is kept current, so that no number of tries fills the journal. With pace it is not looked at for a while.
-- Run after lock_run.sql in the same transaction. The journal may be what is broken: it goes on above its highest row.
WITH last AS (
  SELECT
    j.seq,
    j.type = 'saga.recovery_skipped' AND j.data ->> 'fence' = %(fence)s::bigint::text AS is_same
  FROM saga_events AS j
  WHERE j.saga_id = %(saga_id)s
  ORDER BY j.seq DESC
  LIMIT 1
),
run AS (
  UPDATE saga_runs AS r
  SET
    seq = CASE
      WHEN noted.is_new THEN greatest(r.seq, noted.highest) + 1
      ELSE r.seq END,
    wake_at = CASE
      WHEN %(pace)s AND r.wake_at <= statement_timestamp() THEN statement_timestamp() + interval '5 minutes'
      ELSE r.wake_at END
  FROM (
    SELECT coalesce(max(last.seq), 0) AS highest, NOT coalesce(bool_or(last.is_same), false) AS is_new
    FROM last
  ) AS noted
  WHERE r.id = %(saga_id)s AND r.fence = %(fence)s AND r.status IN ('pending', 'running', 'compensating')
  RETURNING r.id, r.seq, r.status, r.waiting_for, r.fence, r.current_step_idx, noted.is_new, noted.highest
),
journal AS (
  INSERT INTO saga_events (saga_id, seq, type, step_idx, data)
  SELECT
    run.id, run.seq, 'saga.recovery_skipped', run.current_step_idx,
    jsonb_build_object(
      'status', run.status, 'waiting_for', run.waiting_for, 'fence', run.fence, 'reason', %(reason)s::text,
      'step', %(step)s::text, 'host', %(host)s::text, 'pid', %(pid)s::integer, 'tries', 1,
      'imports', %(importing)s::boolean::integer,
      'last_at', statement_timestamp())
  FROM run
  WHERE run.is_new
),
tried_again AS (
  UPDATE saga_events AS j
  SET
    data = j.data || jsonb_build_object(
      'reason', %(reason)s::text, 'step', %(step)s::text, 'host', %(host)s::text, 'pid', %(pid)s::integer,
      'tries', coalesce((j.data ->> 'tries')::integer, 1) + 1, 'last_at', statement_timestamp(),
      'imports', CASE WHEN %(importing)s::boolean THEN coalesce((j.data ->> 'imports')::integer, 0) + 1 ELSE 0 END)
  FROM run
  WHERE (j.saga_id, j.seq) = (%(saga_id)s, run.highest) AND NOT run.is_new
  RETURNING (j.data ->> 'imports')::integer AS imports
)
SELECT run.is_new, coalesce((SELECT t.imports FROM tried_again AS t), %(importing)s::boolean::integer) AS imports
FROM run
