"""The names of the ledger's tables and functions, and the schema that each statement says before them."""

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
# Rules that many statements ask (migration 0007).
FUNCTIONS = ("saga_wants_undo", "saga_in_scope", "saga_must_stop")
VERSION_TABLE = "sagaworker_version"

_NAMED = re.compile(rf"\b(FROM|JOIN|INTO|UPDATE)(\s+)({'|'.join(TABLES)})\b".encode())
_CALLED = re.compile(rf"\b({'|'.join(FUNCTIONS)})\(".encode())


def quoted(schema: str) -> bytes:
    """A schema as a quoted identifier, for a statement in which `%` marks placeholders."""
    return ('"' + schema.replace('"', '""').replace("%", "%%") + '"').encode()


def qualified(statement: bytes, schema: str) -> bytes:
    """The statement with the schema said before each of our tables and functions: nobody's search_path decides where it goes."""
    name = quoted(schema)
    statement = _NAMED.sub(lambda found: found[1] + found[2] + name + b"." + found[3], statement)
    return _CALLED.sub(lambda found: name + b"." + found[0], statement)
