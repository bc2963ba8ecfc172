"""One delivery of a doorbell: read the saga, claim it where it may be claimed, and have it walked."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

from sagaworker.catalog.registry import Registry
from sagaworker.domain.explain import IMPORTS
from sagaworker.domain.records import Doorbell, SagaRun
from sagaworker.domain.status import RunStatus
from sagaworker.domain.values import Json
from sagaworker.episodes.episode import Episode, EpisodeEnd, Observer, arm
from sagaworker.episodes.heartbeat import Heartbeat
from sagaworker.episodes.place import Place
from sagaworker.episodes.plan import Plan, Unrunnable, planned
from sagaworker.episodes.run import run as run_episode
from sagaworker.errors import SagaNotFound
from sagaworker.failpoints import Failpoints
from sagaworker.ledger.claim import Claim
from sagaworker.ledger.episodes import Claimer, Loaded
from sagaworker.ledger.ledger import Ledger
from sagaworker.ledger.line import Line
from sagaworker.settings import Settings

log = logging.getLogger(__name__)


class Runner:
    """Walks sagas in this process, any number at a time in different threads, one saga at most once at a time."""

    def __init__(
        self, ledger: Ledger, registry: Registry, heartbeat: Heartbeat, settings: Settings, failpoints: Failpoints
    ) -> None:
        self._ledger = ledger
        self._registry = registry
        self._heartbeat = heartbeat
        self._settings = settings
        self._failpoints = failpoints
        self._lists: deque[tuple[Json, ...]] = deque(maxlen=2)  # of the sagas last claimed here at their start
        self._here: set[str] = set()
        self._lock = threading.Lock()

    def run_episode(
        self, saga_id: str, claimer: Claimer, place: Place, observer: Observer, told: SagaRun | None = None
    ) -> EpisodeEnd:
        """Claim and walk one saga until it ends, waits, or should stop. At most one episode; never raises for a step.

        `told`: the saga as its start returned it. It saves the read before the claim where nothing has happened since.
        Without it, the saga is taken to have the list of the last two: the claim proves that, and else changes nothing.

        Raises:
            SagaNotFound: there is no such run.
        """
        with self._walking_once(saga_id) as is_first, Line(self._ledger.database) as line:
            if told is None or told.id != saga_id:
                told = self._guessed(saga_id)
            plan = None if told is None else self._plan_of_first(told)
            if plan is not None and is_first and not observer.should_stop():
                with self._entered(place):
                    end = self._walked_first(plan, claimer, line, place, observer)
                if end is not None:
                    return end
            loaded = self._ledger.load(saga_id, line)
            if loaded is None:
                raise SagaNotFound(saga_id)
            run = loaded.run
            if not is_first or not loaded.is_claimable:
                return EpisodeEnd(saga_id=saga_id, status=run.status, outcome="busy")
            if observer.should_stop():
                bell = replace(Doorbell.of(run), goes_first=True)
                return EpisodeEnd(saga_id=saga_id, status=run.status, outcome="stopping", doorbell=bell)
            try:
                plan = planned(run, self._registry, lambda steps: self._importing(loaded, steps, place))
            except Unrunnable as exc:
                log.error("saga %s waits: %s", saga_id, exc.reason)  # noqa: TRY400 - the sentence says it all
                if not exc.is_noted:
                    self._ledger.pass_over(saga_id, run.fence, exc.reason, step=exc.step)
                return EpisodeEnd(saga_id=saga_id, status=run.status, outcome="unrunnable", reason=exc.reason)
            with self._entered(place):
                return self._walked(plan, claimer, line, place, observer)

    @staticmethod
    @contextmanager
    def _entered(place: Place) -> Iterator[None]:
        with place.entered():
            try:
                yield
            finally:
                place.disarm()

    def _guessed(self, saga_id: str) -> SagaRun | None:
        """Sagas of one list often follow each other. After a wrong guess nothing is guessed until two lists are alike again."""
        if len(self._lists) < 2 or self._lists[0] != self._lists[1]:  # noqa: PLR2004 - see above
            return None
        return SagaRun(id=saga_id, kind="", status=RunStatus.PENDING, step_modules=self._lists[0])

    def _plan_of_first(self, told: SagaRun) -> Plan | None:
        """The plan of a saga that nobody has claimed yet, where its steps are loaded here: to load them is bounded."""
        if told.status is not RunStatus.PENDING or told.fence > 0:
            return None
        try:
            return planned(told, self._registry, _refuse_to_import)
        except Unrunnable:
            return None

    @contextmanager
    def _importing(self, loaded: Loaded, steps: Sequence[str], place: Place) -> Iterator[None]:
        """Around the import of steps: what they do there may end this process, or never end.

        A saga that was rung in vain may have lost its worker to that. Then its import is put on record first, and
        after some of them no more processes are spent on it.

        Raises:
            Unrunnable: too many imports in a row did not come back.
        """
        run = loaded.run
        if loaded.rings:
            tries = self._ledger.importing(run.id, run.fence, steps[0])
            if tries > IMPORTS:
                named = ", ".join(steps)
                raise Unrunnable(
                    f"steps {named} must be importable, got {IMPORTS} imports in a row that did not come back; they are"
                    " not imported again until somebody retries the saga",
                    steps[0],
                    is_noted=True,
                )
        place.arm(self._registry.import_bound * len(steps) + self._settings.step_grace.total_seconds(), slack=0)
        try:
            yield
        finally:
            place.disarm()

    def _walked_first(
        self, plan: Plan, claimer: Claimer, line: Line, place: Place, observer: Observer
    ) -> EpisodeEnd | None:
        """Claim by what the caller was told, and walk; None: nothing was claimed, and the saga must be read."""
        step = plan.steps[0]
        with self._claiming(plan, line, place) as unwatched:
            claimed = self._ledger.claim_first(plan.run, claimer, line, step_name=step.name, timeout=step.timeout)
        if claimed is None:
            return None
        run, claim = claimed
        return self._held(claim, plan.of(run), line, place, observer, is_unwatched=any(unwatched))

    def _walked(self, plan: Plan, claimer: Claimer, line: Line, place: Place, observer: Observer) -> EpisodeEnd:
        run, idx = plan.run, plan.run.current_step_idx
        step = plan.steps[idx]
        with self._claiming(plan, line, place) as unwatched:
            claim = self._ledger.claim(
                run,
                claimer,
                line,
                step_name=step.name,
                timeout=step.timeout,
                undo_timeout=plan.undo_timeout,
                doubts=not step.policy.transactional,
            )
        if claim is None:
            return EpisodeEnd(saga_id=run.id, status=run.status, outcome="busy", doorbell=plan.doorbell(idx))
        return self._held(claim, plan, line, place, observer, is_unwatched=any(unwatched))

    @contextmanager
    def _claiming(self, plan: Plan, line: Line, place: Place) -> Iterator[list[bool]]:
        """Around a claim: the hard end is armed before the attempt is on record. Yields whether it was taken away."""
        idx = plan.run.current_step_idx
        arm(place, plan.steps[idx], self._settings.step_grace.total_seconds())
        unwatched: list[bool] = []
        line.on_lost = lambda: unwatched.append(place.disarm())  # the hard end must not strike in the claim either
        self._failpoints.hit("claim.before", idx)
        yield unwatched

    def _held(
        self, claim: Claim, plan: Plan, line: Line, place: Place, observer: Observer, *, is_unwatched: bool
    ) -> EpisodeEnd:
        self._failpoints.hit("claim.after", plan.run.current_step_idx)
        self._heartbeat.add(claim)
        if claim.fence == 1:
            self._lists.append(plan.run.step_modules)
        try:
            episode = Episode(claim, plan, place, observer, self._failpoints, self._settings)
            line.on_lost = episode.unwatch
            if is_unwatched:
                episode.is_unwatched = True
            return run_episode(episode, self._ledger)
        finally:
            self._heartbeat.remove(claim)

    @contextmanager
    def _walking_once(self, saga_id: str) -> Iterator[bool]:
        with self._lock:
            is_first = saga_id not in self._here
            self._here.add(saga_id)
        try:
            yield is_first
        finally:
            if is_first:
                with self._lock:
                    self._here.discard(saga_id)


def _refuse_to_import(steps: Sequence[str]) -> AbstractContextManager[None]:
    raise Unrunnable(f"steps {', '.join(steps)} must be loaded already, got some that are not")
