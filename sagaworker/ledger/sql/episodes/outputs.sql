-- read: the outputs on record, in order; their fold is the context
SELECT l.step_idx, l.output
FROM saga_step_results AS l
WHERE l.saga_id = %(saga_id)s AND l.output IS NOT NULL
ORDER BY l.step_idx
