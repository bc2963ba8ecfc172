"""The tables as SQLAlchemy metadata, for Alembic and for the reads."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Integer, MetaData, SmallInteger, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB, UUID

metadata = MetaData()

_INSTANT = DateTime(timezone=True)

saga_runs = Table(
    "saga_runs",
    metadata,
    Column("id", UUID(as_uuid=False), primary_key=True),
    Column("actor_id", Text),
    Column("kind", Text, nullable=False),
    Column("key", Text),
    Column("status", Text, nullable=False),
    Column("waiting_for", Text),
    Column("wake_at", _INSTANT),
    Column("step_modules", JSONB, nullable=False),
    Column("definition_version", Text),
    Column("inputs", JSONB, nullable=False),
    Column("inputs_hash", Text, nullable=False),
    Column("context", JSONB),
    Column("current_step_idx", Integer, nullable=False, server_default="0"),
    Column("fence", BigInteger, nullable=False, server_default="0"),
    Column("seq", BigInteger, nullable=False, server_default="1"),
    Column("rings", Integer, nullable=False, server_default="0"),
    Column("recovery_policy", Text),
    Column("recoveries", Integer, nullable=False, server_default="0"),
    Column("max_recoveries", Integer, nullable=False, server_default="3"),
    Column("on_compensation_failure", Text, nullable=False, server_default="continue"),
    Column("cancel_requested", Boolean, nullable=False, server_default="false"),
    Column("cancel_reason", Text),
    Column("error", JSONB),
    Column("error_class", Text),
    Column("trigger_type", Text),
    Column("trigger_ref", JSONB),
    Column("mode", Text, nullable=False, server_default="live"),
    Column("overrides", JSONB),
    Column("parent_saga_id", UUID(as_uuid=False)),
    Column("parent_step_idx", Integer),
    Column("continued_from_id", UUID(as_uuid=False)),
    Column("continued_to_id", UUID(as_uuid=False)),
    Column("trace", JSONB),
    Column("conversation_id", Text),
    Column("attributes", JSONB),
    Column("queue", Text),
    Column("priority", SmallInteger),
    Column("source_stack", Text),
    Column("source_env", Text),
    Column("deadline_at", _INSTANT),
    Column("protocol_version", SmallInteger, nullable=False, server_default="1"),
    Column("inserted_at", _INSTANT, nullable=False, server_default=text("now()")),
    Column("started_at", _INSTANT),
    Column("completed_at", _INSTANT),
    Column("archived_at", _INSTANT),
)

saga_step_results = Table(
    "saga_step_results",
    metadata,
    Column("saga_id", UUID(as_uuid=False), primary_key=True),
    Column("step_idx", Integer, primary_key=True, autoincrement=False),
    Column("step_name", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("output", JSONB),
    Column("error", JSONB),
    Column("checkpoint", JSONB),
    Column("wait", JSONB),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("failed_attempts", Integer, nullable=False, server_default="0"),
    Column("in_doubt", Integer, nullable=False, server_default="0"),
    Column("recoveries", Integer, nullable=False, server_default="0"),
    Column("compensation_attempts", Integer, nullable=False, server_default="0"),
    Column("compensation_recoveries", Integer, nullable=False, server_default="0"),
    Column("fence", BigInteger, nullable=False, server_default="0"),
    Column("child_saga_id", UUID(as_uuid=False)),
    Column("started_at", _INSTANT),
    Column("completed_at", _INSTANT),
    Column("deadline_at", _INSTANT),
    Column("quarantine_until", _INSTANT),
    Column("compensated_at", _INSTANT),
)

saga_events = Table(
    "saga_events",
    metadata,
    Column("saga_id", UUID(as_uuid=False), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("type", Text, nullable=False),
    Column("step_idx", Integer),
    Column("data", JSONB, nullable=False),
    Column("created_at", _INSTANT, nullable=False, server_default=text("clock_timestamp()")),
)

saga_episodes = Table(
    "saga_episodes",
    metadata,
    Column("saga_id", UUID(as_uuid=False), primary_key=True),
    Column("fence", BigInteger, primary_key=True, autoincrement=False),
    Column("owner", UUID(as_uuid=False), nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("task_id", Text),
    Column("lease_until", _INSTANT, nullable=False),
    Column("lease_cap", _INSTANT),
    Column("started_at", _INSTANT, nullable=False, server_default=text("clock_timestamp()")),
    Column("ended_at", _INSTANT),
    Column("outcome", Text),
)

saga_definitions = Table(
    "saga_definitions",
    metadata,
    Column("actor_id", Text),
    Column("kind", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("steps", JSONB, nullable=False),
    Column("recovery_policy", Text),
    Column("max_recoveries", Integer),
    Column("options", JSONB, nullable=False, server_default="{}"),
    Column("disabled_at", _INSTANT),
    Column("inserted_at", _INSTANT, nullable=False, server_default=text("clock_timestamp()")),
    Column("source_env", Text),
)

saga_sweeps = Table(
    "saga_sweeps",
    metadata,
    Column("name", Text, primary_key=True),
    Column("last_at", _INSTANT, nullable=False),
    Column("server_started_at", _INSTANT),
    Column("held_until", _INSTANT),
)

saga_ledger = Table(
    "saga_ledger",
    metadata,
    Column("id", UUID(as_uuid=False), nullable=False, server_default=text("gen_random_uuid()")),
    Column("made_at", _INSTANT, nullable=False, server_default=text("clock_timestamp()")),
    Column("is_the_only", Boolean, primary_key=True, server_default=text("true")),
)
