"""Reads that people and monitors make cost the same with a million finished runs behind.

Revision ID: 0006
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_ENDED = "status IN ('completed', 'rolled_back', 'failed')"

# Each is written by as few sagas as may be, and by those once or twice: what is not over is few, and read by the indexes of
# what is active. `fence >= 0` follows from what the audit asks and from nothing else: see migration 0003.
CREATED = {
    "saga_runs_by_conversation": "saga_runs (conversation_id, id) WHERE conversation_id IS NOT NULL",
    "saga_runs_by_key": "saga_runs (key, id) WHERE key IS NOT NULL",
    "saga_runs_rolled_back": "saga_runs (id) WHERE status = 'rolled_back'",
    # kind[the last six of the id], where there is no key.
    "saga_runs_by_ending": f'saga_runs (kind, "right"(id::text, 6)) WHERE key IS NULL AND {_ENDED}',
    # `audit --since`. A run that is over and has no completed_at is in it too: that is a breach.
    "saga_runs_ended": f"saga_runs (completed_at) WHERE {_ENDED} AND fence >= 0",
}


def upgrade() -> None:
    # In a ledger that has sagas `migrate` has made them before this transaction, CONCURRENTLY, which no transaction may:
    # here they would keep every move waiting while a million runs are read five times.
    for name, columns in CREATED.items():
        op.execute(f"CREATE INDEX IF NOT EXISTS {name} ON {columns}")


def downgrade() -> None:
    for name in CREATED:
        op.execute(f"DROP INDEX {name}")
