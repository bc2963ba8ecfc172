"""The ledger's content as frozen records. They cross every floor; no code above the ledger sees a database row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sagaworker.domain.status import EpisodeOutcome, RunStatus, StepStatus, WaitingFor
from sagaworker.domain.values import Json


@dataclass(frozen=True, kw_only=True)
class SagaRun:
    """One durable run of a list of steps (`saga_runs`). All instants are aware and by the database's clock.

    `context` is the outputs of all steps folded in order; a later output replaces an earlier one of the same name. While
    the saga is active, each read folds it from the ledger. `list` leaves it empty.
    """

    id: str
    kind: str
    status: RunStatus
    actor_id: str | None = None
    key: str | None = None
    waiting_for: WaitingFor | None = None
    wake_at: datetime | None = None
    step_modules: tuple[Json, ...] = ()
    definition_version: str | None = None
    inputs: Mapping[str, Json] = field(default_factory=dict, repr=False)
    inputs_hash: str = field(default="", repr=False)
    context: Mapping[str, Json] = field(default_factory=dict, repr=False)
    current_step_idx: int = 0
    fence: int = 0
    recovery_policy: str | None = None
    recoveries: int = 0
    max_recoveries: int = 3
    on_compensation_failure: str = "continue"
    cancel_requested: bool = False
    cancel_reason: str | None = None
    error: Mapping[str, Json] | None = None
    error_class: str | None = None
    trigger_type: str | None = None
    trigger_ref: Mapping[str, Json] | None = field(default=None, repr=False)
    mode: str = "live"
    conversation_id: str | None = None
    attributes: Mapping[str, Json] = field(default_factory=dict, repr=False)
    queue: str | None = None
    priority: int | None = None
    source_stack: str | None = None
    source_env: str | None = None
    deadline_at: datetime | None = None
    inserted_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    archived_at: datetime | None = None

    @property
    def label(self) -> str:
        """Short name for people: `checkout[order-42]`."""
        return label(self.kind, self.key, self.id)


def label(kind: str, key: str | None, saga_id: str) -> str:
    """Short name for people: kind and key, or kind and the last part of the id (its first part is the time)."""
    return f"{kind}[{key if key is not None else saga_id[-6:]}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """One ledger row (`saga_step_results`): the record of one step of one saga.

    `attempts` counts all attempts that were begun. `failed_attempts` counts attempts whose failure was recorded and that
    were tried again; RETRY limits these. An attempt that died with its worker, or was yielded, is not among them.
    """

    saga_id: str
    step_idx: int
    step_name: str
    status: StepStatus
    output: Mapping[str, Json] | None = field(default=None, repr=False)
    error: Mapping[str, Json] | None = None
    checkpoint: Json = None
    attempts: int = 0
    failed_attempts: int = 0
    in_doubt: int = 0
    recoveries: int = 0
    compensation_attempts: int = 0
    compensation_recoveries: int = 0
    fence: int = 0
    started_at: datetime | None = None
    completed_at: datetime | None = None
    deadline_at: datetime | None = None
    quarantine_until: datetime | None = None
    compensated_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """One journal row (`saga_events`): one move. `seq` is contiguous from 1 within its saga."""

    saga_id: str
    seq: int
    type: str
    step_idx: int | None
    data: Mapping[str, Any]
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """One worker's hold of a saga, from claim to letting go (`saga_episodes`)."""

    saga_id: str
    fence: int
    owner: str
    host: str
    pid: int
    task_id: str | None
    lease_until: datetime
    lease_cap: datetime | None
    started_at: datetime
    ended_at: datetime | None = None
    outcome: EpisodeOutcome | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """Everything on record about one saga, read in one snapshot."""

    run: SagaRun
    steps: tuple[StepResult, ...]
    episodes: tuple[Episode, ...]
    journal: tuple[JournalEntry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Doorbell:
    """The content of the message that wakes a worker: an id, and hints for people.

    `goes_first`: the saga was interrupted by no fault of its own, so its message goes to the front of the queue (on Redis).
    `ledger`: the identity of the saga's ledger, for a worker of another ledger that takes this message.
    """

    saga_id: str
    kind: str
    goes_first: bool = False
    key: str | None = None
    step_idx: int = 0
    step_count: int = 0
    step_name: str | None = None
    queue: str | None = None
    priority: int | None = None
    ledger: str | None = None

    @classmethod
    def of(cls, run: SagaRun) -> Doorbell:
        """The doorbell of a run."""
        return cls(
            saga_id=run.id,
            kind=run.kind,
            key=run.key,
            step_idx=run.current_step_idx,
            step_count=len(run.step_modules),
            queue=run.queue,
            priority=run.priority,
        )

    @property
    def label(self) -> str:
        """`checkout[order-42] 3/7 charge_card`."""
        place = f" {self.step_idx + 1}/{self.step_count}" if self.step_count else ""
        return label(self.kind, self.key, self.saga_id) + place + (f" {self.step_name}" if self.step_name else "")


Ring = Callable[[Sequence[Doorbell]], object]  # sends doorbells, or raises


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepResult:
    """The counts of one sweep: takeovers by policy, expired episodes left alone, and doorbells rung again.

    `skipped`: another sweep was first, or the run cannot be recovered (its journal says why). `held_back`: left for
    later, because the database has not been reachable for a full lease.
    """

    restarted: int = 0
    failed: int = 0
    compensated: int = 0
    held: int = 0
    skipped: int = 0
    rung: int = 0
    held_back: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One breach of an invariant, found by the audit."""

    invariant: int
    rule: str
    saga_id: str
    detail: str
