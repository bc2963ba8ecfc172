-- invariant 11: compensation_failed => the run failed, or still undoes the rows below, or halted for an operator, perhaps on hold
SELECT
  r.id AS saga_id,
  concat(
    'row ', l.step_idx, ' is compensation_failed, the run is ', r.status,
    ' waiting for ', coalesce(r.waiting_for, 'nothing')) AS detail
FROM saga_step_results AS l
JOIN saga_runs AS r ON r.id = l.saga_id
WHERE
  l.status = 'compensation_failed'
  AND r.status <> 'failed'
  AND NOT (
    r.status = 'compensating'
    AND (
      r.current_step_idx < l.step_idx
      OR (r.current_step_idx = l.step_idx AND coalesce(r.waiting_for IN ('operator', 'hold'), false))
    )
  )
