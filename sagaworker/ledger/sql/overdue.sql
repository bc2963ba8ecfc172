-- read: whether the last sweep of a scope began longer than `every` ago
SELECT coalesce(max(s.last_at) <= clock_timestamp() - %(every)s::interval, true) AS is_overdue
FROM saga_sweeps AS s
WHERE s.name = %(name)s
