-- read: whether an attempt of a step itself left a doubt, and not only a takeover or a cancel that could not know its kind
SELECT EXISTS (
  SELECT
  FROM saga_events AS j
  WHERE
    j.saga_id = %(saga_id)s
    AND j.step_idx = %(idx)s
    AND j.type IN ('step.failed', 'step.retried')
    AND (j.data ->> 'doubted')::boolean
) AS is_doubted
