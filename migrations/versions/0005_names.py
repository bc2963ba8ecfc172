"""Every table, type and index of ours begins with saga_; a key is unique in its environment; the ledger has an identity.

Revision ID: 0005
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# A rename touches the catalog only: no row is rewritten, however many there are.
_RENAMED = (
    ("TABLE", "episodes", "saga_episodes"),
    ("TABLE", "sweep_state", "saga_sweeps"),
    ("INDEX", "episodes_pkey", "saga_episodes_pkey"),
    ("INDEX", "episodes_one_open_per_saga", "saga_episodes_one_open_per_saga"),
    ("INDEX", "episodes_open_by_lease", "saga_episodes_open_by_lease"),
    ("INDEX", "episodes_open_by_owner", "saga_episodes_open_by_owner"),
    ("INDEX", "sweep_state_pkey", "saga_sweeps_pkey"),
    ("DOMAIN", "episode_outcome", "saga_episode_outcome"),
)
_RENAMED_RULES = (
    ("TABLE saga_episodes", "episodes_ended_has_outcome", "saga_episodes_ended_has_outcome"),
    ("DOMAIN saga_episode_outcome", "episode_outcome_is_known", "saga_episode_outcome_is_known"),
)


def upgrade() -> None:
    for what, old, new in _RENAMED:
        op.execute(f"ALTER {what} {old} RENAME TO {new}")
    for owner, old, new in _RENAMED_RULES:
        op.execute(f"ALTER {owner} RENAME CONSTRAINT {old} TO {new}")
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
    for owner, old, new in _RENAMED_RULES:
        op.execute(f"ALTER {owner} RENAME CONSTRAINT {new} TO {old}")
    for what, old, new in reversed(_RENAMED):
        op.execute(f"ALTER {what} {new} RENAME TO {old}")
