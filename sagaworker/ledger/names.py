"""The names of the ledger's tables, and the schema before them in each statement."""

from __future__ import annotations

import re

# In the order of their creation. The schema also has Alembic's version table, and the domains.
TABLES = (
    "saga_runs",
    "saga_step_results",
    "saga_events",
    "saga_episodes",
    "saga_definitions",
    "saga_sweeps",
    "saga_ledger",
)
VERSION_TABLE = "sagaworker_version"

_NAMED = re.compile(rf"\b(FROM|JOIN|INTO|UPDATE)(\s+)({'|'.join(TABLES)})\b".encode())


def quoted(schema: str) -> bytes:
    """A schema as a quoted identifier, for a statement in which `%` marks placeholders."""
    return ('"' + schema.replace('"', '""').replace("%", "%%") + '"').encode()


def qualified(statement: bytes, schema: str) -> bytes:
    """The statement with the schema before each of our tables, so that no search_path decides on the table."""
    name = quoted(schema)
    return _NAMED.sub(lambda found: found[1] + found[2] + name + b"." + found[3], statement)
