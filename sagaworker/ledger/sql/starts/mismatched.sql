-- read: active runs whose status is not what the last row of their journal says
SELECT
  r.id::text AS saga_id, r.status, r.waiting_for, j.data ->> 'status' AS journal_status,
  j.data ->> 'waiting_for' AS journal_waiting_for
FROM saga_runs AS r
LEFT JOIN saga_events AS j ON (j.saga_id, j.seq) = (r.id, r.seq)
WHERE
  r.status IN ('pending', 'running', 'compensating')
  AND r.protocol_version >= 1
  AND (
    j.saga_id IS NULL
    OR j.data ->> 'status' IS DISTINCT FROM r.status
    OR j.data ->> 'waiting_for' IS DISTINCT FROM r.waiting_for
  )
LIMIT %(limit)s
