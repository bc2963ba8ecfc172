"""Definitions of kinds, and what the sweepers know of the database and of each other.

Revision ID: 0002
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_UP = (
    # One row for each list of steps that a kind of an actor ever had; the newest that is not disabled is the current one.
    """
    CREATE TABLE saga_definitions (
      actor_id text,
      kind text NOT NULL,
      version text NOT NULL,
      steps jsonb NOT NULL,
      recovery_policy saga_recovery_policy,
      max_recoveries integer,
      options jsonb NOT NULL DEFAULT '{}',
      disabled_at timestamptz,
      inserted_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )
    """,
    # An actor that is null is one too: NULLS NOT DISTINCT, from PostgreSQL 15 on.
    """
    CREATE UNIQUE INDEX saga_definitions_version_is_unique ON saga_definitions (kind, actor_id, version)
      NULLS NOT DISTINCT
    """,
    # `database`: when any sweeper last reached it. `sweep <scope>`: when the last sweep of that scope began.
    """
    CREATE TABLE saga_sweeps (
      name text PRIMARY KEY,
      last_at timestamptz NOT NULL,
      server_started_at timestamptz,
      held_until timestamptz
    ) WITH (fillfactor = 50)
    """,
)


def upgrade() -> None:
    for statement in _UP:
        op.execute(statement)


def downgrade() -> None:
    for table in ("saga_sweeps", "saga_definitions"):
        op.execute(f"DROP TABLE {table}")
