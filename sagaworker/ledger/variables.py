"""The variables that libpq reads. They are meant for the user's databases, not for a server of ours."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, MutableMapping

# A fixed list: libpq cannot give its own while PGSERVICE names a service that does not exist. The variables in the last
# line belong to no connection parameter, so no URL can override them.
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
    """Remove the variables from an environment, by default this process's; return their values."""
    env = os.environ if env is None else env
    return {name: env.pop(name) for name in VARIABLES & env.keys()}


@contextlib.contextmanager
def forgotten() -> Iterator[None]:
    """Within: this process has none of the variables."""
    had = forget()
    try:
        yield
    finally:
        os.environ.update(had)
