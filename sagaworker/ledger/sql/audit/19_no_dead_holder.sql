-- invariant 19: no open episode is past its lease by more than 3 sweeps
SELECT
  e.saga_id,
  concat('the lease of fence ', e.fence, ' ran out ', e.lease_until, ', its holder was ', e.host, ':', e.pid) AS detail
FROM saga_episodes AS e
WHERE e.ended_at IS NULL AND e.lease_until < now() - 3 * %(sweep_interval)s::interval
