-- invariant 2: a run has at most one open episode
SELECT e.saga_id, concat('open episodes have the fences ', string_agg(e.fence::text, ', ' ORDER BY e.fence)) AS detail
FROM saga_episodes AS e
WHERE e.ended_at IS NULL
GROUP BY e.saga_id
HAVING count(*) > 1
