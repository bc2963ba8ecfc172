-- read: the identity that migrate gave this ledger
SELECT id::text AS id FROM saga_ledger
