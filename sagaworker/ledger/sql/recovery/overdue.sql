-- read: whether the last sweep of a scope began longer than `every` ago; or in the future, by a clock that was set back
SELECT
  coalesce(max(s.last_at) <= clock_timestamp() - %(every)s::interval OR max(s.last_at) > clock_timestamp(), true)
    AS is_overdue
FROM saga_sweeps AS s
WHERE s.name = %(name)s
