-- read: whether a person's request is on record, for one whose acknowledgement was lost
SELECT j.data ->> 'status' AS status
FROM saga_events AS j
WHERE j.saga_id = %(saga_id)s AND j.data ->> 'request' = %(request)s
