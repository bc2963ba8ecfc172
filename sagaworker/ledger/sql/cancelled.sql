-- read: whether a saga that cancel.sql did not change had accepted a cancel before (or, in a resend, by that very send)
SELECT r.status, r.status IN ('pending', 'running') AS flag_only
FROM saga_runs AS r
WHERE r.id = %(saga_id)s AND r.cancel_requested AND (%(is_resend)s OR r.status IN ('pending', 'running'))
