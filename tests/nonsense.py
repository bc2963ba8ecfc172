"""Each variable of libpq, set to a value with which no connection can be made."""

from __future__ import annotations

from sagaworker.ledger.variables import VARIABLES

NONSENSE = dict.fromkeys(VARIABLES, "nonsense") | {
    "PGHOST": "nohost.invalid",
    "PGHOSTADDR": "192.0.2.1",
    "PGPORT": "1",
    "PGOPTIONS": "-c nonsense=1",
    "PGSSLMODE": "verify-full",
    "PGSSLROOTCERT": "/nonsense/root.crt",
    "PGSERVICEFILE": "/nonsense/service.conf",
    "PGPASSFILE": "/nonsense/pgpass",
    "PGTARGETSESSIONATTRS": "standby",
    "PGCLIENTENCODING": "SQL_ASCII",
    "PGTZ": "Nowhere/Nonsense",
    "PGCONNECT_TIMEOUT": "1",
}
