-- lock: the saga row first; the move that follows in the same transaction then decides on a fresh snapshot
SELECT r.status, r.seq
FROM saga_runs AS r
WHERE r.id = %(saga_id)s
FOR UPDATE
