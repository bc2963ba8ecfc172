-- rings: doorbells that the broker did not take are rung again after the first wait, not after a longer one each time
WITH asked AS (
  SELECT r.id
  FROM (SELECT unnest(%(saga_ids)s::uuid[]) AS id ORDER BY 1) AS a
  CROSS JOIN LATERAL (
    SELECT r.id
    FROM saga_runs AS r
    WHERE
      r.id = a.id
      AND r.rings > 0
      AND r.waiting_for IS NULL
      -- In this form no index of what is due offers itself; a run that has ended is not due at any time.
      AND coalesce(r.wake_at > statement_timestamp(), false)
    FOR UPDATE SKIP LOCKED
  ) AS r
)
UPDATE saga_runs AS r
SET
  rings = r.rings - 1,
  wake_at = least(r.wake_at, statement_timestamp() + %(ring_after)s::interval * (0.75 + random() * 0.5))
WHERE r.id = ANY(ARRAY(SELECT asked.id FROM asked))
RETURNING r.id::text AS saga_id
