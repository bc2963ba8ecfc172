"""What RETRY allows is counted by itself: attempts alone do not tell a failed one from one that died with its worker.

Revision ID: 0004
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_PLANS = ("seqscan", "hashjoin", "mergejoin")


def upgrade() -> None:
    op.execute("ALTER TABLE saga_step_results ADD COLUMN failed_attempts integer NOT NULL DEFAULT 0")
    # Of active sagas only, found by their index: the others' counts are never asked for. Every recorded failure that was
    # followed by another try has its journal row; a saga that was reopened had all tries again.
    for plan in _PLANS:
        op.execute(f"SET LOCAL enable_{plan} = off")
    op.execute(
        """
        UPDATE saga_step_results AS l
        SET failed_attempts = counted.failures
        FROM (
          SELECT r.id AS saga_id, j.step_idx, count(*) AS failures
          FROM saga_runs AS r
          JOIN saga_events AS j ON j.saga_id = r.id
          WHERE
            r.status IN ('pending', 'running')
            AND r.protocol_version >= 1
            AND j.type = 'step.retried'
            AND coalesce((j.data ->> 'counts')::boolean, true)
            AND NOT EXISTS (
              SELECT
              FROM saga_events AS o
              JOIN saga_events AS before ON before.saga_id = o.saga_id AND before.seq = o.seq - 1
              WHERE
                o.saga_id = j.saga_id
                AND o.step_idx = j.step_idx
                AND o.seq > j.seq
                AND o.type = 'operator.retried'
                AND before.data ->> 'status' = 'failed'
            )
          GROUP BY r.id, j.step_idx
        ) AS counted
        WHERE l.saga_id = counted.saga_id AND l.step_idx = counted.step_idx
        """
    )
    for plan in _PLANS:
        op.execute(f"RESET enable_{plan}")


def downgrade() -> None:
    op.execute("ALTER TABLE saga_step_results DROP COLUMN failed_attempts")
