"""Indexes that only the statements they are made for can use.

Revision ID: 0003
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ACTIVE = "status IN ('pending', 'running', 'compensating')"
_OPEN = "ended_at IS NULL"

# While little is active a small partial index read whole costs the planner no more than a row by its key, and sessions
# keep their plans: a claim then read every open episode, and each expired lease every active run, once there were many.
# So each predicate says what only its readers say: its own column compared with something, or the version.
_INDEXES = {
    "INDEX saga_runs_active": ("saga_runs (status, id)", _ACTIVE, "protocol_version >= 1"),
    "INDEX saga_episodes_open_by_lease": ("saga_episodes (lease_until)", _OPEN, "lease_until IS NOT NULL"),
    "INDEX saga_episodes_open_by_owner": ("saga_episodes (owner)", _OPEN, "owner IS NOT NULL"),
    "UNIQUE INDEX saga_episodes_one_open_per_saga": ("saga_episodes (saga_id)", _OPEN, "saga_id IS NOT NULL"),
}


def upgrade() -> None:
    for name, (columns, rule, mark) in _INDEXES.items():
        op.execute(f"DROP {name.removeprefix('UNIQUE ')}")
        op.execute(f"CREATE {name} ON {columns} WHERE {rule} AND {mark}")


def downgrade() -> None:
    for name, (columns, rule, _) in _INDEXES.items():
        op.execute(f"DROP {name.removeprefix('UNIQUE ')}")
        op.execute(f"CREATE {name} ON {columns} WHERE {rule}")
