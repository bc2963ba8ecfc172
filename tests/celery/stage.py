"""A ledger, a broker and the processes between them, for the tests of one module."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import redis
from celery import Celery

from sagaworker.doorbell.publisher import Doorbells
from sagaworker.engine import Engine
from sagaworker.settings import Settings
from tests.celery.nodes import CommandContainer, ProcessContainer, WorkerContainer
from tests.showing import timeline
from tests.steps_for_tests import journal
from tests.waiting import PATIENCE, wait_until

ACTS = "tests.steps_for_tests.acts:Acts"
WAITS = "tests.steps_for_tests.acts:Waits"
FAILS_ONCE = "tests.steps_for_tests.acts:FailsOnce"
LEASE = 30.0  # long enough that none ends by itself, however busy the machine is
SWEEP = 1.0


class Stage:
    """Everything of one module. Its engine only starts, reads and cancels: the walking is done by real workers."""

    def __init__(self, folder: Path, database_url: str, broker_url: str, **settings: Any) -> None:
        self.folder = folder
        self.database_url = database_url
        self.broker_url = broker_url
        self.effects = folder / "effects.jsonl"
        given = {"lease": LEASE, "sweep_interval": SWEEP, "step_grace": 5.0, **settings}
        packages = ("steps", "tests.steps_for_tests")
        self.settings = Settings(database_url=database_url, broker_url=broker_url).replace(
            step_packages=packages, **given
        )
        self.env = {
            "SAGAWORKER_DATABASE_URL": database_url,
            "SAGAWORKER_BROKER_URL": broker_url,
            "SAGAWORKER_STEP_PACKAGES": ",".join(packages),
            journal.VARIABLE: str(self.effects),
            **{f"SAGAWORKER_{name.upper()}": _as_variable(value) for name, value in given.items()},
        }
        self._doorbells = Doorbells.from_settings(self.settings)
        self.engine = Engine(self.settings, ring=self._doorbells.ring)
        self.client = Celery("test-client", broker=broker_url, set_as_current=False)
        self.redis = redis.Redis.from_url(broker_url if broker_url.startswith("redis") else "redis://")
        self._processes: list[ProcessContainer] = []

    def worker(self, *options: str, env: Mapping[str, str] | None = None, app: str = "sagaworker.celery_app"):
        """Start a worker and wait until it is ready; two prefork children unless the options say otherwise."""
        pool = () if any(option in ("-P", "-c") for option in options) else ("-c", "2")
        return self.run(WorkerContainer(self.folder, {**self.env, **(env or {})}, *pool, *options, app=app))

    def unready(self, *options: str, env: Mapping[str, str] | None = None):
        """Start a worker and do not wait for it."""
        container = WorkerContainer(self.folder, {**self.env, **(env or {})}, *options)
        self._processes.append(container)
        return container.start()

    def beat(self):
        return self.run(CommandContainer(self.folder, self.env, "beat", "beat: Starting", "-l", "INFO"))

    def run(self, container: ProcessContainer):
        self._processes.append(container)
        container.start()
        container.ready()
        return container

    def send(self, name: str, *args: object, task_id: str | None = None, **kwargs: object) -> str:
        """Send a task as a client without our code would: by name, to Celery's default queue."""
        return self.client.send_task(name, args=args, kwargs=kwargs, task_id=task_id).id

    def finished(self, *saga_ids: str, timeout: float = 2 * PATIENCE):
        """The terminal runs of these sagas; fails with the timeline of the first that is not."""
        runs = []
        for saga_id in saga_ids:
            with self.explained(saga_id):
                runs.append(self.engine.wait(saga_id, timeout=timeout))
        return runs if len(saga_ids) > 1 else runs[0]

    @contextlib.contextmanager
    def explained(self, saga_id: str):
        """A failure within says what is on record about the saga, and what the workers said last."""
        try:
            yield
        except Exception as exc:
            logs = "\n".join(p.logs()[-3000:] for p in self._processes if p.kind == "worker")
            raise AssertionError(f"{exc}\n{timeline(self.engine, saga_id)}\n{logs}") from exc

    def outcomes(self, saga_id: str) -> list[str]:
        return [str(episode.outcome) for episode in self.engine.timeline(saga_id).episodes]

    def holder(
        self, saga_id: str, *, step: int | None = None, within: str = "entered", timeout: float = PATIENCE
    ) -> int:
        """Wait until a worker is inside user code of the saga (of that step); the pid of the process."""

        def inside():
            lines = journal.read(self.effects)[saga_id]
            last = lines[-1] if lines else None
            return last and last["what"] == within and step in (None, last["idx"]) and last["pid"]

        with self.explained(saga_id):
            return wait_until(inside, timeout=timeout, every=0.01, what=f"saga {saga_id} inside a step")

    def breaches(self, *saga_ids: str) -> dict[str, list[str]]:
        """Where the world and the ledger disagree about finished sagas, or the ledger with itself."""
        effects = journal.read(self.effects)
        found = {one: journal.breaches(self.engine.timeline(one), effects[one]) for one in saga_ids}
        return {one: [*what, timeline(self.engine, one)] for one, what in found.items() if what}

    def close(self) -> None:
        for process in self._processes:
            process.teardown()
        self.engine.close()
        self._doorbells.close()
        self.client.close()
        self.redis.close()


def _as_variable(value: object) -> str:
    return json.dumps(value) if isinstance(value, dict) else str(value)
