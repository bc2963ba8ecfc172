-- invariant 6: completed => every step completed
SELECT
  r.id AS saga_id,
  concat(coalesce(l.total, 0), ' of ', jsonb_array_length(r.step_modules), ' steps completed') AS detail
FROM saga_runs AS r
LEFT JOIN (
  SELECT l.saga_id, count(*) AS total
  FROM saga_step_results AS l
  WHERE l.status = 'completed'
  GROUP BY l.saga_id
) AS l ON l.saga_id = r.id
WHERE r.status = 'completed' AND coalesce(l.total, 0) <> jsonb_array_length(r.step_modules)
