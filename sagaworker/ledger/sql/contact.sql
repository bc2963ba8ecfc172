-- notes: that a sweeper reached the database; answers for how long takeovers are held back after an outage
INSERT INTO sweep_state AS s (name, last_at, server_started_at)
VALUES ('database', clock_timestamp(), pg_postmaster_start_time())
ON CONFLICT (name) DO UPDATE
SET
  held_until = CASE
    WHEN s.server_started_at <> excluded.server_started_at OR s.last_at < clock_timestamp() - %(gap)s::interval
      THEN clock_timestamp() + %(lease)s::interval
    ELSE s.held_until END,
  last_at = clock_timestamp(),
  server_started_at = excluded.server_started_at
RETURNING coalesce(greatest(extract(epoch FROM s.held_until - clock_timestamp()), 0), 0)::float8 AS held_for
