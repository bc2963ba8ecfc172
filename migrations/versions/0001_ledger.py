"""The ledger: runs, step results, journal, episodes.

Revision ID: 0001
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Domains, not table CHECKs, hold the legal words: PostgreSQL parses a table's CHECKs anew in every statement that writes
# it and keeps a domain's in its cache. Two CHECKs, one on each hot table, cost 35 us of every step, a third of what the
# server does for it. So the rules that tie columns together (terminal has completed_at, doubts are attempts) are not
# constraints: the moves keep them, and the audit asks for them (invariants 1, 13, 16).
_DOMAINS = {
    "saga_run_status": "'pending', 'running', 'compensating', 'completed', 'rolled_back', 'failed'",
    "saga_waiting_for": "'timer', 'retry', 'quarantine', 'signal', 'approval', 'children', 'hold', 'operator'",
    "saga_recovery_policy": "'restart', 'compensate', 'fail', 'hold'",
    "saga_on_compensation_failure": "'continue', 'halt'",
    "saga_step_status": (
        "'pending', 'running', 'waiting', 'completed', 'failed', 'compensating', 'compensated',"
        " 'compensation_failed', 'skipped'"
    ),
    "saga_episode_outcome": "'completed', 'rolled_back', 'failed', 'parked', 'yielded', 'orphaned', 'died'",
}

_UP = (
    *(
        f"CREATE DOMAIN {name} AS text CONSTRAINT {name}_is_known CHECK (VALUE IN ({words}))"
        for name, words in _DOMAINS.items()
    ),
    """
    CREATE TABLE saga_runs (
      id uuid PRIMARY KEY,
      actor_id text,
      kind text NOT NULL,
      key text,
      status saga_run_status NOT NULL,
      waiting_for saga_waiting_for,
      wake_at timestamptz,
      step_modules jsonb NOT NULL,
      definition_version text,
      inputs jsonb NOT NULL,
      inputs_hash text NOT NULL,
      context jsonb,
      current_step_idx integer NOT NULL DEFAULT 0,
      fence bigint NOT NULL DEFAULT 0,
      seq bigint NOT NULL DEFAULT 1,
      rings integer NOT NULL DEFAULT 0,
      recovery_policy saga_recovery_policy,
      recoveries integer NOT NULL DEFAULT 0,
      max_recoveries integer NOT NULL DEFAULT 3,
      on_compensation_failure saga_on_compensation_failure NOT NULL DEFAULT 'continue',
      cancel_requested boolean NOT NULL DEFAULT false,
      cancel_reason text,
      error jsonb,
      error_class text,
      trigger_type text,
      trigger_ref jsonb,
      mode text NOT NULL DEFAULT 'live',
      overrides jsonb,
      parent_saga_id uuid,
      parent_step_idx integer,
      continued_from_id uuid,
      continued_to_id uuid,
      trace jsonb,
      conversation_id text,
      attributes jsonb,
      queue text,
      priority smallint,
      source_stack text,
      source_env text,
      deadline_at timestamptz,
      protocol_version smallint NOT NULL DEFAULT 1,
      inserted_at timestamptz NOT NULL DEFAULT now(),
      started_at timestamptz,
      completed_at timestamptz,
      archived_at timestamptz
    ) WITH (fillfactor = 70)
    """,
    # A key names one saga of its kind for as long as that saga is not archived.
    """
    CREATE UNIQUE INDEX saga_runs_kind_key_is_unique ON saga_runs (kind, key)
      WHERE key IS NOT NULL AND archived_at IS NULL
    """,
    # What the re-ring and the wake read: active sagas that no worker holds.
    """
    CREATE INDEX saga_runs_due ON saga_runs (wake_at)
      WHERE wake_at IS NOT NULL AND status IN ('pending', 'running', 'compensating')
    """,
    """
    CREATE INDEX saga_runs_active ON saga_runs (status, id)
      WHERE status IN ('pending', 'running', 'compensating')
    """,
    "CREATE INDEX saga_runs_failed ON saga_runs (id) WHERE status = 'failed'",
    "CREATE INDEX saga_runs_by_kind ON saga_runs (kind, id)",
    "CREATE INDEX saga_runs_by_actor ON saga_runs (actor_id, kind, id) WHERE actor_id IS NOT NULL",
    """
    CREATE TABLE saga_step_results (
      saga_id uuid NOT NULL,
      step_idx integer NOT NULL,
      step_name text NOT NULL,
      status saga_step_status NOT NULL,
      output jsonb,
      error jsonb,
      checkpoint jsonb,
      wait jsonb,
      attempts integer NOT NULL DEFAULT 0,
      in_doubt integer NOT NULL DEFAULT 0,
      recoveries integer NOT NULL DEFAULT 0,
      compensation_attempts integer NOT NULL DEFAULT 0,
      compensation_recoveries integer NOT NULL DEFAULT 0,
      fence bigint NOT NULL DEFAULT 0,
      child_saga_id uuid,
      started_at timestamptz,
      completed_at timestamptz,
      deadline_at timestamptz,
      quarantine_until timestamptz,
      compensated_at timestamptz,
      PRIMARY KEY (saga_id, step_idx)
    ) WITH (fillfactor = 80)
    """,
    """
    CREATE TABLE saga_events (
      saga_id uuid NOT NULL,
      seq bigint NOT NULL,
      type text NOT NULL,
      step_idx integer,
      data jsonb NOT NULL,
      created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
      PRIMARY KEY (saga_id, seq)
    )
    """,
    """
    CREATE TABLE saga_episodes (
      saga_id uuid NOT NULL,
      fence bigint NOT NULL,
      owner uuid NOT NULL,
      host text NOT NULL,
      pid integer NOT NULL,
      task_id text,
      lease_until timestamptz NOT NULL,
      lease_cap timestamptz,
      started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
      ended_at timestamptz,
      outcome saga_episode_outcome,
      PRIMARY KEY (saga_id, fence),
      CONSTRAINT saga_episodes_ended_has_outcome CHECK ((ended_at IS NULL) = (outcome IS NULL))
    ) WITH (fillfactor = 80)
    """,
    "CREATE UNIQUE INDEX saga_episodes_one_open_per_saga ON saga_episodes (saga_id) WHERE ended_at IS NULL",
    "CREATE INDEX saga_episodes_open_by_lease ON saga_episodes (lease_until) WHERE ended_at IS NULL",
    "CREATE INDEX saga_episodes_open_by_owner ON saga_episodes (owner) WHERE ended_at IS NULL",
)


def upgrade() -> None:
    for statement in _UP:
        op.execute(statement)


def downgrade() -> None:
    for table in ("saga_episodes", "saga_events", "saga_step_results", "saga_runs"):
        op.execute(f"DROP TABLE {table}")
    for domain in _DOMAINS:
        op.execute(f"DROP DOMAIN {domain}")
