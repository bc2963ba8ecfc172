"""Walking sagas in this process."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable

from sagaworker.domain.options import checked_note
from sagaworker.domain.records import Doorbell, SagaRun
from sagaworker.domain.status import RunStatus
from sagaworker.engine.doorbells import EngineDoorbells
from sagaworker.episodes import EpisodeEnd, HostPlace, Observer, Place, Runner, ThreadPlace
from sagaworker.episodes.heartbeat import Heartbeat
from sagaworker.ledger.episodes import Claimer
from sagaworker.reads.names import checked_id
from sagaworker.telemetry import metrics


class EngineEpisodes(EngineDoorbells):
    """One episode at a time: claimed, walked, let go. The owner, its heartbeat and its runner belong to one process."""

    owner: str
    _pid: int
    _heartbeat: Heartbeat
    _runner: Runner

    def after_fork(self, owner: str | None = None) -> None:
        """In a forked child: leave the parent's connections alone, be a new owner, start a new heartbeat."""
        self.database.forget()
        self._made_here()
        if owner is not None:
            self.owner = owner

    def _made_here(self) -> None:
        self._pid = os.getpid()
        self.owner = str(uuid.uuid4())
        self._heartbeat = Heartbeat(self.ledger)
        self._runner = Runner(self.ledger, self.registry, self._heartbeat, self.settings, self._failpoints)

    def upsert_step_result(
        self, saga_id: str, step_idx: int, *, fence: int, output: object = None, error: object = None
    ) -> None:
        """From inside a running step: note progress on its own row; a later attempt reads it as `state.checkpoint`.

        Raises:
            Fenced: another worker holds the saga, or the step is not running any more. Nothing was written.
        """
        note = checked_note({"output": output, "error": error}, "checkpoint", self.settings.max_output_bytes)
        self.ledger.checkpoint(checked_id(saga_id), step_idx, fence, note)

    def run(self, saga_id: str | SagaRun) -> SagaRun:
        """Walk the saga here and now, in this process, for one episode; return the run as it is then.

        A run that `start` has just returned is claimed without reading it first, which saves a round trip.

        An ordinary episode: claimed, with heartbeat, fenced. In the main thread TIMEOUT is enforced, and Ctrl-C
        interrupts the step (its attempt is then in doubt) and is raised again. In other threads a step
        notices TIMEOUT in `state.check_cancelled` only.
        """
        told = saga_id if isinstance(saga_id, SagaRun) else None
        saga_id = self.id_of(saga_id.id if isinstance(saga_id, SagaRun) else saga_id, to_move=True)
        place = HostPlace() if threading.current_thread() is threading.main_thread() else None
        if place is None:
            end = self.run_episode(saga_id, place=ThreadPlace(), told=told)
        else:
            end = self.run_episode(saga_id, place=place, should_stop=lambda: place.was_interrupted, told=told)
            # Or in a saga that one of its steps walked: the same Ctrl-C interrupted both.
            if place.was_interrupted or end.outcome == "interrupted":
                raise KeyboardInterrupt
        return end.run or self.get(saga_id)

    def run_episode(
        self,
        saga_id: str,
        *,
        place: Place,
        should_stop: Callable[[], bool] = lambda: False,
        entered: Callable[[Doorbell, RunStatus], None] | None = None,
        task_id: str | None = None,
        told: SagaRun | None = None,
    ) -> EpisodeEnd:
        """Claim and walk one saga, once for each doorbell. Rings when it lets go of a saga that may go on.

        `told`: the saga as `start` has returned it.
        """
        if self._pid != os.getpid():
            self.after_fork()
        claimer = Claimer(owner=self.owner, pid=os.getpid(), task_id=task_id)
        observer = Observer(should_stop=should_stop, entered=entered)
        end = self._runner.run_episode(checked_id(saga_id), claimer, place, observer, told)
        metrics.count_episode(end.outcome)
        if end.outcome in ("yielded", "interrupted", "stopping") and end.doorbell is not None:
            self.ring_all([end.doorbell])
        return end
