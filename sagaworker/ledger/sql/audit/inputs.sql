-- read: inputs and their hash, for invariant 17
SELECT r.id AS saga_id, r.inputs, r.inputs_hash
FROM saga_runs AS r
