-- read: the identity of this ledger; a copy of the database is another one, a physical standby of it is not
SELECT md5(l.id::text || c.system_identifier::text || d.oid::text)::uuid::text AS id
FROM saga_ledger AS l
CROSS JOIN pg_control_system() AS c
CROSS JOIN pg_database AS d
WHERE d.datname = current_database()
