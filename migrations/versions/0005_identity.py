"""A key and a definition are unique in their environment; the ledger has an identity.

Revision ID: 0005
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # NULLS NOT DISTINCT: the environment that is not named is one too.
    op.execute("DROP INDEX saga_runs_kind_key_is_unique")
    op.execute(
        """
        CREATE UNIQUE INDEX saga_runs_kind_key_is_unique ON saga_runs (kind, key, source_env) NULLS NOT DISTINCT
          WHERE key IS NOT NULL AND archived_at IS NULL
        """
    )
    op.execute("ALTER TABLE saga_definitions ADD COLUMN source_env text")
    op.execute("DROP INDEX saga_definitions_version_is_unique")
    op.execute(
        """
        CREATE UNIQUE INDEX saga_definitions_version_is_unique ON saga_definitions (kind, actor_id, version, source_env)
          NULLS NOT DISTINCT
        """
    )
    # One row. Doorbells carry the id, so that a worker of another ledger leaves them to their owner.
    op.execute(
        """
        CREATE TABLE saga_ledger (
          id uuid NOT NULL DEFAULT gen_random_uuid(),
          made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
          is_the_only boolean PRIMARY KEY DEFAULT true,
          CONSTRAINT saga_ledger_has_one_row CHECK (is_the_only)
        )
        """
    )
    op.execute("INSERT INTO saga_ledger DEFAULT VALUES")


def downgrade() -> None:
    op.execute("DROP TABLE saga_ledger")
    op.execute("DROP INDEX saga_definitions_version_is_unique")
    op.execute("ALTER TABLE saga_definitions DROP COLUMN source_env")
    op.execute(
        """
        CREATE UNIQUE INDEX saga_definitions_version_is_unique ON saga_definitions (kind, actor_id, version)
          NULLS NOT DISTINCT
        """
    )
    op.execute("DROP INDEX saga_runs_kind_key_is_unique")
    op.execute(
        """
        CREATE UNIQUE INDEX saga_runs_kind_key_is_unique ON saga_runs (kind, key)
          WHERE key IS NOT NULL AND archived_at IS NULL
        """
    )
