-- invariant 20: (kind, key) names one run of its environment that is not archived
SELECT r.id AS saga_id, concat(r.kind, '[', r.key, '] names ', r.total, ' runs') AS detail
FROM (
  SELECT r.id, r.kind, r.key, count(*) OVER (PARTITION BY r.kind, r.key, r.source_env) AS total
  FROM saga_runs AS r
  WHERE r.key IS NOT NULL AND r.archived_at IS NULL
) AS r
WHERE r.total > 1
