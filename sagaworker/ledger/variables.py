"""The variables that libpq reads: they are for databases that their user named, and not for a server of ours."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, MutableMapping

# By name: libpq's own list cannot be asked for while PGSERVICE names a service that is not there. The last line is of
# those that belong to no parameter of a connection, so that no URL can overrule them.
VARIABLES = frozenset(
    [
        "PGHOST",
        "PGHOSTADDR",
        "PGPORT",
        "PGDATABASE",
        "PGUSER",
        "PGPASSWORD",
        "PGPASSFILE",
        "PGSERVICE",
        "PGOPTIONS",
        "PGAPPNAME",
        "PGCLIENTENCODING",
        "PGCONNECT_TIMEOUT",
        "PGTARGETSESSIONATTRS",
        "PGLOADBALANCEHOSTS",
        "PGCHANNELBINDING",
        "PGREQUIREAUTH",
        "PGREQUIREPEER",
        "PGREQUIRESSL",
        "PGSSLMODE",
        "PGSSLNEGOTIATION",
        "PGSSLCOMPRESSION",
        "PGSSLCERT",
        "PGSSLKEY",
        "PGSSLCERTMODE",
        "PGSSLROOTCERT",
        "PGSSLCRL",
        "PGSSLCRLDIR",
        "PGSSLSNI",
        "PGSSLMINPROTOCOLVERSION",
        "PGSSLMAXPROTOCOLVERSION",
        "PGMINPROTOCOLVERSION",
        "PGMAXPROTOCOLVERSION",
        "PGGSSENCMODE",
        "PGGSSLIB",
        "PGGSSDELEGATION",
        "PGKRBSRVNAME",
        "PGREALM",
        "PGSERVICEFILE",
        "PGSYSCONFDIR",
        "PGLOCALEDIR",
        "PGTZ",
        "PGDATESTYLE",
        "PGGEQO",
    ]
)


def forget(env: MutableMapping[str, str] | None = None) -> dict[str, str]:
    """Take them out of an environment, by default this process's; what they were."""
    env = os.environ if env is None else env
    return {name: env.pop(name) for name in VARIABLES & env.keys()}


@contextlib.contextmanager
def forgotten() -> Iterator[None]:
    """Within: this process has none of them."""
    had = forget()
    try:
        yield
    finally:
        os.environ.update(had)
