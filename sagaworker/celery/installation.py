"""Put sagas on an app: tasks, routes, queues, beat entries, and the worker's parts around its pool."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

from billiard.process import current_process
from celery import Celery, bootsteps, signals
from celery.app.amqp import Queues
from celery.app.routes import prepare
from kombu.entity import Exchange, Queue

from sagaworker.celery import naming, tasks
from sagaworker.celery.beat import schedule, settle
from sagaworker.celery.tasks import ours
from sagaworker.celery.worker import preflight
from sagaworker.celery.worker.polite import leave_soon
from sagaworker.celery.worker.process import Process
from sagaworker.celery.worker.quiet import keep_quiet
from sagaworker.celery.worker.witness import Witness
from sagaworker.doorbell.publisher import as_every_worker_reads, direct_queue
from sagaworker.engine import Engine
from sagaworker.settings import Settings

log = logging.getLogger(__name__)

CELERYS_CONSUMER = "celery.worker.consumer:Consumer"


class Installation:
    """The parts that `install` put on an app."""

    def __init__(self, app: Celery, settings: Settings) -> None:
        self._app = app
        self._process = Process(app, settings)
        self._witness = Witness(self._bury)
        self._ours = {naming.RUN_SAGA: {"queue": settings.queue}, "sagaworker.*": {"queue": settings.control_queue}}

    @property
    def engine(self) -> Engine:
        """The engine of this process; it rings through the app's broker."""
        return self._process.engine

    def _bury(self, owner: str, pid: int) -> int:
        # Main has no engine until the witness makes one at the first death.
        return self._process.engine.take_over_dead(owner, has_spawned=self._process.spawned.by(pid))

    def place(self) -> None:
        """Put all parts on the app, now and whenever its configuration is loaded again."""
        app: Any = self._app  # Celery's attributes are None until it is made, for type checkers
        tasks.register(app, self._process)
        app.steps["worker"].add(_surroundings(self._process, self._witness))
        _keep_routes(app, self._ours)
        _keep_messages(app)
        app.on_after_configure.connect(self._configure, weak=False)
        if app.configured:
            self._configure(app)
        # The app may have assigned routes, queues or a schedule since, which replaced ours: put ours there again.
        signals.celeryd_init.connect(self._worker_begins, weak=False)
        signals.beat_init.connect(self._beat_begins, weak=False)
        signals.worker_process_init.connect(self._child_began, weak=False)
        signals.worker_shutting_down.connect(self._stopping, weak=False)
        signals.worker_shutdown.connect(self._stopped, weak=False)
        signals.worker_ready.connect(self._ready, weak=False)

    def _configure(self, sender: Celery, **_: Any) -> None:
        conf = sender.conf
        theirs = _routes(conf)
        if self._ours not in theirs:
            conf.task_routes = [self._ours, *theirs]
        conf.task_queues = _with_ours(sender, self._process.settings)
        conf.beat_schedule = {**schedule(self._process.settings), **conf.beat_schedule}
        if conf.worker_consumer == CELERYS_CONSUMER:
            conf.worker_consumer = "sagaworker.celery.worker.consumer:SafeConsumer"

    def _worker_begins(self, instance: Any, **_: Any) -> None:
        if instance.app is self._app:
            keep_quiet()
            self._configure(instance.app)
            accepted = instance.app.conf.accept_content
            if not {"json", "application/json"} & set(accepted):
                instance.app.conf.accept_content = [*accepted, "json"]  # our messages are JSON; it runs no code

    def _beat_begins(self, sender: Any, **_: Any) -> None:
        if sender.app is self._app:
            settle(sender.scheduler, self._process.settings, sender.app.conf.beat_schedule)

    def _child_began(self, **_: Any) -> None:
        # The solo pool sends this signal from main, where nothing was forked.
        if not _is_main():
            self._witness.report(self._process.born())
            self._process.spawned.watch()
            leave_soon(self._process.stop)
            self._process.watch_sweeps()

    def _stopping(self, **_: Any) -> None:
        self._process.stop.set()

    def _stopped(self, **_: Any) -> None:
        """The pool has ended: before main exits, let the witness deal with children that did not stop politely."""
        self._witness.settle(timeout=2)

    def _ready(self, sender: Any, **_: Any) -> None:
        """Look for orphans at once, rather than at beat's next tick."""
        if sender.app is not self._app:
            return
        if "prefork" not in sender.controller.pool_cls.__module__:
            self._process.watch_sweeps()
        try:
            self._app.send_task(naming.RECOVER, expires=60, retry=False)
        except Exception as exc:  # noqa: BLE001 - beat sweeps anyway
            log.warning("first recovery not sent: %s", exc)


def install(app: Celery, *, settings: Settings | None = None, **overrides: Any) -> Installation:
    """Put sagas on an app; call it once, where the app is made, in every process that uses the app.

    `settings`, else the SAGAWORKER_ variables, then keyword overrides (`lease=10`, `step_packages="shop.steps"`). The
    app keeps its broker, queues, routes and schedule; ours are added. A worker without `-Q` consumes `sagas` and
    `control` besides its other queues.

    Raises:
        InvalidSetting: a setting is unknown or illegal.
    """
    settings = (settings or Settings.from_env()).replace(**overrides)
    installation = Installation(app, settings)
    installation.place()
    return installation


def _routes(conf: Any) -> list[Any]:
    theirs = conf.task_routes or ()
    return list(theirs) if isinstance(theirs, (list, tuple)) else [theirs]


def _keep_routes(app: Any, ours: dict[str, Any]) -> None:
    """Keep our routes also in a program that only sends and assigns its routes later: Celery reads them at its first message."""
    amqp = app.amqp
    flush = amqp.flush_routes

    def flush_and_keep() -> None:
        flush()
        if ours not in _routes(app.conf):
            amqp._rtable = [*prepare([ours]), *amqp._rtable]  # noqa: SLF001 - what flush_routes itself sets

    amqp.flush_routes = flush_and_keep


def _keep_messages(app: Any) -> None:
    """Send each message for our tasks on this app in a form that every worker of ours can read and the broker keeps."""
    amqp = app.amqp
    made: list[Any] = []  # Celery makes its sender at the first message, from the configuration at that time

    def send_task_message(producer: Any, name: str, message: Any, **options: Any) -> Any:
        if not made:
            made.append(amqp._create_task_sender())  # noqa: SLF001 - `amqp.send_task_message` is made of it
        if ours.is_ours(name):
            options |= as_every_worker_reads(app)
        return made[0](producer, name, message, **options)

    amqp.send_task_message = send_task_message


def _with_ours(app: Any, settings: Settings) -> list[Queue]:
    """The app's queues and ours. An app without queues keeps its default queue, as Celery would make it.

    Our queues have the type that the app gives to its queues by default.
    """
    conf = app.conf
    given = conf.task_queues
    if not given:  # an empty list too: Celery then uses its default queue
        name = conf.task_default_queue
        exchange = Exchange(conf.task_default_exchange or name, conf.task_default_exchange_type)
        kind = _of_type(conf.task_default_queue_type)
        given = [Queue(name, exchange, routing_key=conf.task_default_routing_key or name, queue_arguments=kind)]
    elif isinstance(given, dict):
        given = list(Queues(given).values())
    names = {queue.name for queue in given}
    types = {conf.task_default_queue_type, conf.task_create_missing_queue_type}
    kind = _of_type("quorum" if "quorum" in types else None)
    ours = dict.fromkeys((settings.queue, settings.control_queue))
    return [*given, *(direct_queue(name, kind) for name in ours if name not in names)]


def _of_type(name: str | None) -> dict[str, str] | None:
    return {"x-queue-type": "quorum"} if name == "quorum" else None


def _is_main() -> bool:
    return bool(current_process().name == "MainProcess")


def _surroundings(process: Process, witness: Witness) -> type[bootsteps.StartStopStep]:  # noqa: C901 - a class of short methods
    """The worker's bootstep. Celery makes the instance, so the class binds its objects here."""

    class Surroundings(bootsteps.StartStopStep):
        """Around the pool: prepares before the first fork, watches after it, and says stop before the pool ends."""

        requires = ("celery.worker.components:Pool",)

        def __init__(self, parent: Any, **kwargs: Any) -> None:
            super().__init__(parent, **kwargs)
            preflight.check(parent, process.settings)
            _find_steps_here()
            process.stop.clear()
            self._forks = "prefork" in parent.pool_cls.__module__
            if "thread" in parent.pool_cls.__module__:
                process.sagas_at_once = parent.concurrency
            if self._forks:
                witness.prepare()

        def create(self, parent: Any) -> None:
            """The pool is made, and has not forked yet."""
            ours.without_limits_of_the_pool(parent)

        def start(self, parent: Any) -> None:  # noqa: ARG002 - Celery's signature
            if self._forks:
                witness.watch()

        def register_with_event_loop(self, parent: Any, hub: Any) -> None:
            """Have a dead child replaced at once.

            Celery looks for a dead child when the child's pipe closes, a moment before the child can be reaped. If it
            finds no dead child then, it looks again up to five seconds later; the place is empty until then.
            """
            if self._forks:
                hub.add_reader(witness.deaths, self._replace, parent.pool)

        def _replace(self, pool: Any) -> None:
            witness.heard()
            pool.maintain_pool()

        def stop(self, parent: Any) -> None:  # noqa: ARG002
            """Set the stop flag before the pool is joined, also for stops without a signal (remote shutdown, an error in main)."""
            process.stop.set()

        def terminate(self, parent: Any) -> None:
            self.stop(parent)

    return Surroundings


def _find_steps_here() -> None:
    """Keep the working folder on the path: Celery does so only while it imports the app, and steps are imported later."""
    here = str(Path.cwd())
    if not {here, ""} & set(sys.path):
        sys.path.append(here)
