-- invariant 17: a terminal run's context is the fold of its outputs; inputs and step list are as they were at the start
-- The hash of the inputs is recomputed in Python, from inputs.sql.
SELECT r.id AS saga_id, 'the cached context is not the fold of the outputs' AS detail
FROM saga_runs AS r
CROSS JOIN LATERAL (
  SELECT coalesce(jsonb_object_agg(kv.key, kv.value ORDER BY l.step_idx), '{}') AS context
  FROM saga_step_results AS l
  CROSS JOIN LATERAL jsonb_each(l.output) AS kv
  WHERE l.saga_id = r.id AND l.output IS NOT NULL
) AS fold
WHERE r.status IN ('completed', 'rolled_back', 'failed') AND r.context IS DISTINCT FROM fold.context
UNION ALL
SELECT r.id, concat('the list has ', jsonb_array_length(r.step_modules), ' steps, at the start ', j.data ->> 'steps')
FROM saga_events AS j
JOIN saga_runs AS r ON r.id = j.saga_id
WHERE j.seq = 1 AND (j.data ->> 'steps')::integer <> jsonb_array_length(r.step_modules)
UNION ALL
SELECT r.id, 'the list has as many steps as at the start, and others'
FROM saga_events AS j
JOIN saga_runs AS r ON r.id = j.saga_id
WHERE
  j.seq = 1
  AND (j.data ->> 'steps')::integer = jsonb_array_length(r.step_modules)
  AND j.data ->> 'list_hash' <> encode(sha256(convert_to(r.step_modules::text, 'UTF8')), 'hex')
