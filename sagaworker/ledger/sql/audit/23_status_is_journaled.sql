-- invariant 23: status and waiting_for are those of the last journal row, and seq counts up from 1 to the run's
SELECT
  r.id AS saga_id,
  concat(
    'the run has seq ', r.seq, ', its journal ', coalesce(j.total, 0), ' rows from ', j.lowest, ' to ', j.highest
  ) AS detail
FROM saga_runs AS r
LEFT JOIN (
  SELECT j.saga_id, count(*) AS total, min(j.seq) AS lowest, max(j.seq) AS highest
  FROM saga_events AS j
  GROUP BY j.saga_id
) AS j ON j.saga_id = r.id
WHERE j.saga_id IS NULL OR j.lowest <> 1 OR j.highest <> r.seq OR j.total <> r.seq
UNION ALL
SELECT
  r.id,
  concat(
    'the run is ', r.status, ' waiting for ', coalesce(r.waiting_for, 'nothing'),
    ', its journal says ', j.data ->> 'status', ' waiting for ', coalesce(j.data ->> 'waiting_for', 'nothing'))
FROM saga_runs AS r
JOIN saga_events AS j ON j.saga_id = r.id AND j.seq = r.seq
WHERE j.data ->> 'status' IS DISTINCT FROM r.status OR j.data ->> 'waiting_for' IS DISTINCT FROM r.waiting_for
