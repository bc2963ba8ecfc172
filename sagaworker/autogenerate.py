"""For the Alembic of an application that keeps the ledger in its own database: leave sagaworker's tables alone.

In the application's `env.py`:

    from sagaworker.autogenerate import include_name

    context.configure(..., include_name=include_name)
"""

from __future__ import annotations

from collections.abc import Mapping

from sagaworker.ledger.names import TABLES, VERSION_TABLE

_OURS = frozenset((*TABLES, VERSION_TABLE))


def include_name(name: str | None, type_: str, parent_names: Mapping[str, str | None]) -> bool:  # noqa: ARG001 - Alembic's signature
    """Alembic's hook of that name: False for the tables of sagaworker, so that autogenerate never proposes to drop them."""
    return not (type_ == "table" and name in _OURS)
