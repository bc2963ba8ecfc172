-- notes: whose sweep this is; of the sweepers of one scope that come within `every`, one gets a row
INSERT INTO saga_sweeps AS s (name, last_at)
VALUES (%(name)s, clock_timestamp())
ON CONFLICT (name) DO UPDATE
SET last_at = clock_timestamp()
WHERE s.last_at <= clock_timestamp() - %(every)s::interval
RETURNING s.name
