"""Keep sagas going: sweeps, repeated doorbells, and a worker's recovery at its start."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Literal

from sagaworker.catalog.definitions import LoadedDefinitions
from sagaworker.domain.definition import Definition
from sagaworker.domain.records import SagaRun, SweepResult
from sagaworker.domain.recovery import RecoverResult, Scope
from sagaworker.engine.reads import EngineReads
from sagaworker.errors import InvalidInput
from sagaworker.reads.filters import LONGEST
from sagaworker.recovery.policies import ResolvePolicy
from sagaworker.settings import Settings

FROM_SETTINGS: str = "\0"  # an argument that was not given; no stack or environment has this name


class EngineRecovery(EngineReads):
    """The engine's part for beats, workers and witnesses. Any number of processes may call these at once."""

    def load_definitions(self) -> LoadedDefinitions:
        """Import the modules of the allowed step packages, register the definitions they declare, and store them."""
        return self.definitions.load()

    def sweep(
        self,
        *,
        stale_after: timedelta | float = 0.0,
        resolve_policy: ResolvePolicy | None = None,
        source_stack: str | None = FROM_SETTINGS,
        source_env: str | None = FROM_SETTINGS,
        actor_registry: Iterable[Definition] = (),
    ) -> SweepResult:
        """Take over orphans and ring due sagas, of one stack and environment; returns the counts.

        The policy of an orphan: the answer of `resolve_policy(run)`, else its definition's (first `actor_registry`, then
        the loaded definitions, then the database's), else the run's own, else `fail`. `source_stack` takes the runs of
        this stack and runs without a stack, None takes all; `source_env` takes exactly the runs of this environment, None
        those without one. Both default to the settings. `stale_after`: leave younger orphans and doorbells alone.
        A sweep works for at most five seconds or half a sweep interval; the next sweep does the rest. Several sweeps at
        the same time share the work.

        Raises:
            InvalidInput: `stale_after` is negative or no duration; nothing was swept.
        """
        return self.recovery.sweep(
            _scope(self.settings, source_stack, source_env),
            stale_after=_duration(stale_after),
            resolve_policy=resolve_policy,
            actor_registry=actor_registry,
        )

    def sweep_tick(self) -> SweepResult:
        """The beat's sweep, in the scope of the settings: one sweep in a tick, with any number of beats."""
        return self.recovery.tick(_scope(self.settings))

    def sweep_if_overdue(self) -> SweepResult | None:
        """Sweep if no sweep of this scope began for a tick and a half; None if one did."""
        return self.recovery.sweep_if_overdue(_scope(self.settings))

    def ring_due(self) -> int:
        """Wake due sagas, and ring sagas whose doorbell was lost, in the scope of the settings; returns how many."""
        return self.recovery.ring_due(_scope(self.settings))

    def recover(self) -> RecoverResult:
        """Recover once at a worker's start: load definitions, check statuses against the journal, sweep, ring.

        Each part stands alone: a failure is logged and added to `problems`, and the next part is done.
        """
        return self.recovery.recover(_scope(self.settings))

    def list_stale_running(
        self,
        *,
        stale_after: timedelta | float = 0.0,
        source_stack: str | None = FROM_SETTINGS,
        source_env: str | None = FROM_SETTINGS,
        limit: int = 100,
    ) -> list[SagaRun]:
        """Runs that a sweep with these arguments would take over or ring, without their contexts. Changes nothing."""
        scope = _scope(self.settings, source_stack, source_env)
        ids = self.recovery.stale(scope, stale_after=_duration(stale_after), limit=limit)
        found = self.reads.runs_by_id(ids)
        return [found[saga_id] for saga_id in ids if saga_id in found]

    def claim_for_recovery(self, saga_id: str) -> Literal["ok", "already_claimed"]:
        """Claim one abandoned saga and ring it: one of any number of callers gets "ok".

        "already_claimed": another caller was first, the saga's worker lives, or the saga waits for something or is over.
        """
        return self.recovery.claim(self.get(self.id_of(saga_id, to_move=True)))

    def take_over_dead(self, owner: str, *, has_spawned: bool = False) -> int:
        """For the local witness: take over the sagas that a dead process of this machine held; returns how many.

        `has_spawned`: the process had started others, which may live on; the step is then quarantined as if nobody had
        seen the death.
        """
        return self.recovery.take_over_dead(owner, has_spawned=has_spawned)


def _scope(
    settings: Settings, source_stack: str | None = FROM_SETTINGS, source_env: str | None = FROM_SETTINGS
) -> Scope:
    return Scope(
        source_stack=settings.source_stack if source_stack is FROM_SETTINGS else source_stack,
        source_env=settings.source_env if source_env is FROM_SETTINGS else source_env,
    )


def _duration(value: object) -> timedelta:
    """Refuse a negative age: it would look into the future, where the leases of living workers have run out."""
    try:
        duration = value if isinstance(value, timedelta) else timedelta(seconds=float(value))  # type: ignore[arg-type] # what float refuses is caught
    except (TypeError, ValueError, OverflowError):
        duration = None
    if duration is None or not timedelta(0) <= duration <= LONGEST:
        raise InvalidInput(f"stale_after must be a timedelta or seconds, from 0 to 100 years, got {ascii(value)[:80]}")
    return duration
