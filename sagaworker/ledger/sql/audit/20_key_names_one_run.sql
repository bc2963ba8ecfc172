-- invariant 20: (kind, key) names one run of its environment that is not archived
-- Its rivals are looked for among all runs, also where only some are asked for.
SELECT r.id AS saga_id, concat(r.kind, '[', r.key, '] names ', r.total, ' runs') AS detail
FROM (
  SELECT e.id, e.kind, e.key, count(*) OVER (PARTITION BY e.kind, e.key, e.source_env) AS total
  FROM every_run AS e
  WHERE
    e.key IS NOT NULL
    AND e.archived_at IS NULL
    AND (e.kind, e.key) IN (SELECT r.kind, r.key FROM saga_runs AS r WHERE r.key IS NOT NULL)
) AS r
WHERE r.total > 1 AND r.id IN (SELECT r.id FROM saga_runs AS r)
