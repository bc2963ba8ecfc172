"""Rules that many statements ask are said once, as functions of one line that PostgreSQL puts into their place.

Revision ID: 0007
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

FUNCTIONS = {
    # A row that an undo goes through: its step completed, or may have happened.
    "saga_wants_undo(status text, in_doubt integer)": (
        "IMMUTABLE",
        "SELECT status = 'completed' OR (in_doubt > 0 AND status IN ('pending', 'running', 'waiting', 'failed'))",
    ),
    # A run that a sweeper of this stack and environment minds: its own stack's, and those without one; exactly its environment's.
    "saga_in_scope(stack text, env text, own_stack text, own_env text)": (
        "IMMUTABLE",
        "SELECT (own_stack IS NULL OR stack IS NULL OR stack = own_stack) AND env IS NOT DISTINCT FROM own_env",
    ),
    # A run that goes forward no more: a cancel or its deadline came first.
    "saga_must_stop(cancel_requested boolean, deadline_at timestamptz)": (
        "STABLE",
        "SELECT cancel_requested OR deadline_at <= statement_timestamp()",
    ),
}


def upgrade() -> None:
    for signature, (volatility, body) in FUNCTIONS.items():
        op.execute(
            f"CREATE FUNCTION {signature} RETURNS boolean LANGUAGE sql {volatility} PARALLEL SAFE AS $$ {body} $$"
        )
        # A database may grant nothing on new functions by default; whoever may move sagas may ask these.
        op.execute(f"GRANT EXECUTE ON FUNCTION {signature} TO PUBLIC")


def downgrade() -> None:
    for signature in FUNCTIONS:
        op.execute(f"DROP FUNCTION {signature}")
