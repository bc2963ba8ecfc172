"""What RETRY allows is counted by itself: attempts alone do not tell a failed one from one that died with its worker.

Revision ID: 0004
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE saga_step_results ADD COLUMN failed_attempts integer NOT NULL DEFAULT 0")
    # Every recorded failure that was followed by another try has its journal row.
    op.execute(
        """
        UPDATE saga_step_results AS l
        SET failed_attempts = counted.failures
        FROM (
          SELECT j.saga_id, j.step_idx, count(*) AS failures
          FROM saga_events AS j
          JOIN saga_runs AS r ON r.id = j.saga_id
          WHERE j.type = 'step.retried' AND r.status IN ('pending', 'running')
          GROUP BY j.saga_id, j.step_idx
        ) AS counted
        WHERE l.saga_id = counted.saga_id AND l.step_idx = counted.step_idx
        """
    )


def downgrade() -> None:
    op.execute("ALTER TABLE saga_step_results DROP COLUMN failed_attempts")
