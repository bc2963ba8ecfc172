-- notes: that a sweeper reached the database; answers for how long takeovers are held back after an outage
-- For as long as it may have lasted, at most a lease: within that the living have beaten again.
-- A gap that follows a contact which was held back itself holds nothing: sweeps that are always that rare (somebody's
-- cron) would else never take anything over. Who lived through a second outage so soon saw it fail.
INSERT INTO saga_sweeps AS s (name, last_at, server_started_at)
VALUES ('database', clock_timestamp(), pg_postmaster_start_time())
ON CONFLICT (name) DO UPDATE
SET
  held_until = CASE
    WHEN
      s.server_started_at <> excluded.server_started_at
      OR (s.last_at < clock_timestamp() - %(gap)s::interval AND coalesce(s.held_until <= s.last_at, true))
      THEN greatest(
        CASE WHEN s.held_until < clock_timestamp() + %(lease)s::interval THEN s.held_until END,
        clock_timestamp() + least(%(lease)s::interval, clock_timestamp() - s.last_at))
    -- A clock that was set back: never for longer than a lease from now.
    WHEN s.held_until > clock_timestamp() + %(lease)s::interval THEN clock_timestamp() + %(lease)s::interval
    ELSE s.held_until END,
  last_at = clock_timestamp(),
  server_started_at = excluded.server_started_at
RETURNING coalesce(greatest(extract(epoch FROM s.held_until - clock_timestamp()), 0), 0)::float8 AS held_for
