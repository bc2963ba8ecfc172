"""The sweep: it takes over expired episodes, and rings sagas whose doorbell was lost."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Literal, TypeVar

from sagaworker.catalog.definitions import Definitions, LoadedDefinitions
from sagaworker.domain.definition import Definition
from sagaworker.domain.records import Doorbell, SagaRun, SweepResult
from sagaworker.domain.recovery import RecoverResult, Scope
from sagaworker.failpoints import Failpoints
from sagaworker.ledger.lease import now
from sagaworker.ledger.ledger import Ledger
from sagaworker.ledger.outage import OUTAGE, POISON
from sagaworker.ledger.recovery import Due, Sweeping
from sagaworker.ledger.takeovers import Orphan, TakenOver
from sagaworker.recovery.policies import Policies, ResolvePolicy
from sagaworker.recovery.reach import Reach
from sagaworker.settings import Settings
from sagaworker.telemetry import metrics

log = logging.getLogger(__name__)

BATCH = 200  # sagas in one statement, so that no lock is held long
# How long one sweep works, and at most half a tick; the next sweep does the rest. Long enough that thousands of takeovers
# after a mass death are done in one or two ticks. Not longer: a process that sweeps does nothing else, and a cancel may wait.
BUDGET = timedelta(seconds=5)
# Ticks without a sweep, after which any worker sweeps: no beat may be alive, or its message waits while every child walks.
OVERDUE_TICKS = 1.5
GAP_TICKS = 4  # ticks without contact that mean an outage: more than between two sweeps of workers without a beat

Rings = Callable[[Sequence[Doorbell]], bool]  # sends doorbells, best effort; returns whether it worked
Part = TypeVar("Part")
Taken = Callable[[Sequence[tuple[Orphan, str]]], list[TakenOver]]
NO_DELAY = timedelta(0)
COUNTED = {"restart": "restarted", "fail": "failed", "compensate": "compensated", "hold": "held"}


class Recovery:
    """Any number of processes may call these methods at once: one takes an orphan over, the others count it as skipped."""

    def __init__(
        self, ledger: Ledger, definitions: Definitions, ring: Rings, failpoints: Failpoints, settings: Settings
    ) -> None:
        self._ledger = ledger
        self._definitions = definitions
        self._ring = ring
        self._failpoints = failpoints
        self._sweeping = Sweeping(ledger.database, ring_after=ledger.periods.ring_after)
        self._lease = ledger.periods.lease
        self._env = settings.source_env
        self._tick = settings.sweep_interval
        self._gap = max(self._lease, GAP_TICKS * self._tick) + self._tick
        self._reach = Reach(self._lease)

    def sweep(
        self,
        scope: Scope,
        *,
        stale_after: timedelta = NO_DELAY,
        resolve_policy: ResolvePolicy | None = None,
        actor_registry: Iterable[Definition] = (),
        every: timedelta = NO_DELAY,
        budget: timedelta | None = None,
    ) -> SweepResult:
        """Take over every open episode whose lease ran out `stale_after` ago, each under its policy, and ring.

        Never runs a step. Bounded by time (`budget`, else BUDGET): the next sweep does the rest, and others may sweep at
        the same time. After an outage of the database a sweep only rings. With `every`, nothing happens where a sweep of
        the scope began less than that ago.
        """
        until = self._until(budget)
        held_for = self._contact()
        if not self._sweeping.turn(scope, every=every):
            return SweepResult()
        counts: Counter[str] = Counter()
        policies = Policies(
            self._ledger,
            self._definitions,
            scope.source_env,
            resolve_policy=resolve_policy,
            actor_registry=actor_registry,
        )
        _by_turns(
            [
                self._taking_over(scope, policies, stale_after, counts, held_for=held_for, until=until),
                self._waking(scope, counts),
                self._ringing(scope, stale_after, counts),
            ],
            until,
        )
        metrics.count_sweep(skipped=counts["skipped"], held_back=counts["held_back"])
        return SweepResult(**counts)

    def tick(self, scope: Scope) -> SweepResult:
        """The beat's sweep: one of any number of beats sweeps in a tick, the others do nothing."""
        return self.sweep(scope, every=self._tick / 2)

    def sweep_if_overdue(self, scope: Scope) -> SweepResult | None:
        """For a worker, twice a tick: sweep if no sweep began for a tick and a half, else return None. One cheap read.

        While the database is away the driver's error is raised, and this process holds back for as long afterwards.
        """
        every = OVERDUE_TICKS * self._tick
        with self._reach.watched():
            is_overdue = self._sweeping.is_overdue(scope, every=every)
        if not is_overdue:
            return None
        log.info(
            "no sweep began for %.1f s (is a beat running, are all children busy?): this worker sweeps",
            every.total_seconds(),
        )
        return self.sweep(scope, every=every)

    def ring_due(self, scope: Scope, *, budget: timedelta | None = None) -> int:
        """Wake parked sagas whose time has come, and ring runnable sagas that are due, within the budget; returns how many."""
        counts: Counter[str] = Counter()
        _by_turns([self._waking(scope, counts), self._ringing(scope, NO_DELAY, counts)], self._until(budget))
        return counts["rung"]

    def take_over_dead(self, owner: str, *, has_spawned: bool = False) -> int:
        """For the local witness: take over all sagas that a dead process still holds; returns how many.

        Uses one connection of its own, closed at once, so that no connection is open across a fork. The witness saw the
        death, so no outage holds it back. It uses the database's definitions, since main does not import the modules.
        """
        with self._ledger.database.connect(connect_timeout=2) as connection:
            orphans = self._ledger.owned(owner, connection)
            if not orphans:
                return 0
            chosen = Policies(self._ledger, self._definitions, self._env, connection=connection).of(orphans)
            taken = self._isolated(
                chosen,
                lambda some: self._ledger.take_over(
                    some, witnessed=True, has_spawned=has_spawned, connection=connection
                ),
                lambda orphan, exc: log.error("saga %s is left to the sweep: %s", orphan.saga_id, exc),
            )
            # Main has no other connection, so the doorbells get the ledger's identity here.
            ledger = self._ledger.identity(connection) or ""
        metrics.count_takeovers(Counter(one.policy for one in taken), witnessed=True)
        self._ring_some([replace(one.doorbell, ledger=ledger) for one in taken if one.doorbell is not None])
        return len(taken)

    def claim(self, run: SagaRun) -> Literal["ok", "already_claimed"]:
        """Claim one abandoned saga for recovery: take it over if its lease ran out, ring it if it is due and nobody holds it."""
        scope = Scope(source_env=run.source_env)
        orphans = self._sweeping.expired(scope, stale_after=NO_DELAY, limit=1, saga_id=run.id)
        if orphans:
            taken = self._ledger.take_over([(orphans[0], "restart")], witnessed=False)
            metrics.count_takeovers(Counter(one.policy for one in taken), witnessed=False)
            self._ring_some([one.doorbell for one in taken if one.doorbell is not None])
            return "ok" if taken else "already_claimed"
        doorbells = self._sweeping.ring_due(scope, limit=1, saga_ids=[run.id])
        self._ring_some(doorbells)
        return "ok" if doorbells else "already_claimed"

    def stale(self, scope: Scope, *, stale_after: timedelta, limit: int) -> list[str]:
        """Ids of the sagas that a sweep would take over or ring."""
        return self._sweeping.stale(scope, stale_after=stale_after, limit=limit)

    def recover(self, scope: Scope) -> RecoverResult:
        """Load definitions, compare statuses with the journal, sweep and ring. A part that fails does not stop the others."""
        problems: list[str] = []

        def part(name: str, do: Callable[[], Part], otherwise: Part) -> Part:
            try:
                return do()
            except Exception as exc:
                log.exception("recover: %s failed", name)
                problems.append(f"{name}: {type(exc).__name__}: {exc}")
                return otherwise

        loaded = part("definitions", self._definitions.load, LoadedDefinitions())
        mismatched = part("journal", self.mismatched, 0)
        swept = part("sweep", lambda: self.sweep(scope), SweepResult())
        result = RecoverResult(
            definitions=len(loaded.definitions),
            mismatched=mismatched,
            sweep=swept,
            problems=(*loaded.problems, *problems),
        )
        log.info("recovered: %s", dict(result.counts))
        return result

    def mismatched(self) -> int:
        """Log active runs whose status differs from their journal; returns how many. Nothing is changed."""
        found = self._sweeping.mismatched(limit=BATCH)
        for one in found:
            log.error("saga %s is %s, its journal says %s", one.saga_id, one.status, one.journal_status or "nothing")
        return len(found)

    def _contact(self) -> timedelta:
        """Note that the database is reached. Returns how long takeovers wait, by all sweepers' contacts and this process' own."""
        with self._reach.watched():
            held_for = self._sweeping.contact(gap=self._gap, lease=self._lease)
        return max(held_for, self._reach.held_for)

    def _until(self, budget: timedelta | None) -> float:
        return now() + (min(BUDGET, self._tick / 2) if budget is None else budget).total_seconds()

    def _taking_over(
        self,
        scope: Scope,
        policies: Policies,
        stale_after: timedelta,
        counts: Counter[str],
        *,
        held_for: timedelta,
        until: float,
    ) -> Iterator[int]:
        """Take over batch by batch, and ring the sagas of each batch that are to run again."""
        is_heard = True  # once a broker did not answer, this sweep does not wait for it again
        last: Orphan | None = None
        while orphans := self._sweeping.expired(scope, stale_after=stale_after, limit=BATCH, after=last):
            if held_for > NO_DELAY:
                counts["held_back"] += len(orphans)
                log.warning("takeovers are held back for %.1f s after an outage", held_for.total_seconds())
                return
            doorbells = self._took(policies.of(orphans, until=until), stale_after, counts)
            is_heard = is_heard and self._ring_some(doorbells)
            yield len(orphans)
            last = orphans[-1]

    def _waking(self, scope: Scope, counts: Counter[str]) -> Iterator[int]:
        """Wake and ring parked sagas batch by batch."""
        while doorbells := self._picked(
            lambda ids: self._sweeping.wake(scope, limit=BATCH, saga_ids=ids),
            lambda: self._sweeping.due(scope, is_parked=True, stale_after=NO_DELAY, limit=BATCH),
        ):
            if not self._rung(doorbells, counts):
                return
            yield len(doorbells)

    def _ringing(self, scope: Scope, stale_after: timedelta, counts: Counter[str]) -> Iterator[int]:
        """Ring sagas whose doorbell was lost, batch by batch."""
        while doorbells := self._picked(
            lambda ids: self._sweeping.ring_due(scope, limit=BATCH, stale_after=stale_after, saga_ids=ids),
            lambda: self._sweeping.due(scope, is_parked=False, stale_after=stale_after, limit=BATCH),
        ):
            if not self._rung(doorbells, counts):
                return
            yield len(doorbells)

    def _rung(self, doorbells: Sequence[Doorbell], counts: Counter[str]) -> bool:
        """Ring the picked sagas; returns whether the broker took the messages."""
        if not self._ring_some(doorbells):
            # Only a ring that was sent may make the wait until the next ring longer, not a broker that is away.
            self._sweeping.not_rung(doorbells)
            return False
        counts["rung"] += len(doorbells)
        metrics.count_sweep(rung=len(doorbells))
        return True

    def _took(
        self, chosen: Sequence[tuple[Orphan, str]], stale_after: timedelta, counts: Counter[str]
    ) -> list[Doorbell]:
        self._failpoints.hit("take_over.before")
        taken = self._isolated(
            chosen,
            lambda some: self._ledger.take_over(some, witnessed=False, stale_after=stale_after),
            lambda orphan, exc: self._pass_over(orphan.saga_id, orphan.fence, exc),
        )
        self._failpoints.hit("take_over.after")
        counts.update(COUNTED[one.policy] for one in taken)
        counts["skipped"] += len(chosen) - len(taken)
        metrics.count_takeovers(Counter(one.policy for one in taken), witnessed=False)
        return [one.doorbell for one in taken if one.doorbell is not None]

    def _isolated(
        self, chosen: Sequence[tuple[Orphan, str]], take_over: Taken, alone: Callable[[Orphan, Exception], None]
    ) -> list[TakenOver]:
        """Take over in one statement. If a row's values make it raise, split into halves until that row is alone."""
        try:
            return take_over(chosen)
        except OUTAGE:
            raise
        except POISON as exc:
            if len(chosen) == 1:
                alone(chosen[0][0], exc)
                return []
            half = len(chosen) // 2
            return self._isolated(chosen[:half], take_over, alone) + self._isolated(chosen[half:], take_over, alone)

    def _picked(
        self, pick: Callable[[Sequence[str] | None], list[Doorbell]], candidates: Callable[[], list[Due]]
    ) -> list[Doorbell]:
        """Pick in one statement. If a row's values make it raise, split into halves until that row is alone."""
        try:
            return pick(None)
        except OUTAGE:
            raise
        except POISON:
            return self._halved(candidates(), pick)

    def _halved(self, due: Sequence[Due], pick: Callable[[Sequence[str] | None], list[Doorbell]]) -> list[Doorbell]:
        if not due:
            return []
        try:
            return pick([one.saga_id for one in due])
        except OUTAGE:
            raise
        except POISON as exc:
            if len(due) == 1:
                self._pass_over(due[0].saga_id, due[0].fence, exc)
                return []
            half = len(due) // 2
            return self._halved(due[:half], pick) + self._halved(due[half:], pick)

    def _pass_over(self, saga_id: str, fence: int, problem: Exception) -> None:
        log.error("saga %s cannot be recovered and is passed over: %s", saga_id, problem)
        try:
            self._ledger.pass_over(saga_id, fence, f"{type(problem).__name__}: {problem}", pace=True)
        except POISON as exc:
            log.error("saga %s: its journal cannot be written either: %s", saga_id, exc)  # noqa: TRY400 - the sentence says it

    def _ring_some(self, doorbells: Sequence[Doorbell]) -> bool:
        return not doorbells or self._ring(doorbells)


def _by_turns(works: Sequence[Iterator[int]], until: float) -> None:
    """Do a batch of each in turn, so that none starves the others, until all are done or the time is over; at least one each."""
    left = list(works)
    while left:
        left = [work for work in left if next(work, 0)]
        if left and now() >= until:
            log.info("the time of this sweep is over; what is left is for the next one")
            return
