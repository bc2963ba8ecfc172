-- invariant 4: without depends_on, ledger rows count up from 0 without a gap, below the number of steps
SELECT
  r.id AS saga_id,
  concat(
    l.total, ' rows from ', l.lowest, ' to ', l.highest, ' for ', jsonb_array_length(r.step_modules), ' steps'
  ) AS detail
FROM (
  SELECT l.saga_id, count(*) AS total, min(l.step_idx) AS lowest, max(l.step_idx) AS highest
  FROM saga_step_results AS l
  GROUP BY l.saga_id
) AS l
JOIN saga_runs AS r ON r.id = l.saga_id
WHERE
  (l.lowest <> 0 OR l.highest <> l.total - 1 OR l.highest >= jsonb_array_length(r.step_modules))
  AND NOT jsonb_path_exists(r.step_modules, '$[*].depends_on')
