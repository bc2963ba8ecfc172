-- invariant 12: cancel accepted => not completed
SELECT r.id AS saga_id, concat('it was asked to cancel: ', coalesce(r.cancel_reason, 'no reason given')) AS detail
FROM saga_runs AS r
WHERE r.cancel_requested AND r.status = 'completed'
