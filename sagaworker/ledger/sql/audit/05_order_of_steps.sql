-- invariant 5: a row exists => every lower one completed or undone; with depends_on: a begun row's dependencies did
SELECT
  r.id AS saga_id,
  concat('row ', l.unfinished, ' neither completed nor was undone, row ', l.highest, ' exists') AS detail
FROM (
  SELECT
    l.saga_id,
    max(l.step_idx) AS highest,
    min(l.step_idx) FILTER (WHERE l.status IN ('pending', 'running', 'waiting', 'failed')) AS unfinished
  FROM saga_step_results AS l
  GROUP BY l.saga_id
) AS l
JOIN saga_runs AS r ON r.id = l.saga_id
WHERE l.unfinished < l.highest AND NOT jsonb_path_exists(r.step_modules, '$[*].depends_on')
UNION ALL
SELECT r.id, concat('row ', l.step_idx, ' was begun, its dependency ', needed.id, ' is ', coalesce(n.status, 'missing'))
FROM saga_runs AS r
CROSS JOIN LATERAL jsonb_array_elements(r.step_modules) WITH ORDINALITY AS own (entry, place)
CROSS JOIN LATERAL jsonb_array_elements_text(own.entry -> 'depends_on') AS needed (id)
JOIN saga_step_results AS l ON l.saga_id = r.id AND l.step_idx = own.place - 1 AND l.attempts > 0
LEFT JOIN LATERAL (
  SELECT other.place
  FROM jsonb_array_elements(r.step_modules) WITH ORDINALITY AS other (entry, place)
  WHERE other.entry ->> 'id' = needed.id
) AS named ON true
LEFT JOIN saga_step_results AS n ON n.saga_id = r.id AND n.step_idx = named.place - 1
WHERE
  jsonb_path_exists(r.step_modules, '$[*].depends_on')
  AND (n.status IS NULL OR n.status IN ('pending', 'running', 'waiting', 'failed'))
