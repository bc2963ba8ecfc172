-- notes: whose sweep this is; of the sweepers of one scope that come within `every`, one gets a row
INSERT INTO saga_sweeps AS s (name, last_at)
VALUES (%(name)s, clock_timestamp())
ON CONFLICT (name) DO UPDATE
SET last_at = clock_timestamp()
-- A clock that was set back has its last sweep in the future, and must not wait until that is past.
WHERE s.last_at <= clock_timestamp() - %(every)s::interval OR s.last_at > clock_timestamp()
RETURNING s.name
