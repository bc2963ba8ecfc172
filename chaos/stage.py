"""The processes of a run: real workers, beats, clients and servers, started again when killed."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Self

from chaos import plan, world
from chaos.relay import Relay
from chaos.steps.acts import INSIDE
from sagaworker.doorbell.publisher import Doorbells
from sagaworker.embedded import EmbeddedPostgres, EmbeddedValkey
from sagaworker.embedded.supervisor import Process, Supervisor
from sagaworker.engine import Engine
from sagaworker.ledger.migrate import migrate
from sagaworker.settings import Settings

MAINS = ("worker-a", "worker-b")
BEATS = ("beat-1", "beat-2")
CLIENTS = ("client-1", "client-2")
CHILDREN = 3
TOLD = {"refused": "was taken over; this worker stops", "hard end": "Timeout (", "unreadable": "cannot be read"}


class Stage:
    """All processes of the run. The servers are durable: acknowledged writes survive a kill of the server."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or Path(tempfile.mkdtemp(prefix="sagaworker-chaos-"))
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o711)
        self.world = self.folder / "world"
        self.inside = self.folder / "inside"
        for path in (self.world, self.inside):
            path.mkdir(exist_ok=True)
        self.postgres = EmbeddedPostgres(self.folder / "postgres", durable=True)
        self.valkey = EmbeddedValkey(self.folder / "valkey", durable=True)
        self.told: Counter[str] = Counter()
        self._log = (self.folder / "log").open("a", encoding="utf-8")
        self._log_lock = threading.Lock()
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()
        self._log.close()

    def clean(self) -> None:
        """Remove the run's files."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self) -> None:
        url = self._open.enter_context(self.postgres).url
        broker = self._open.enter_context(self.valkey).url
        migrate(url)
        relay = Relay(url)
        self._open.callback(relay.close)
        self.relay = relay
        self.settings = Settings(database_url=url, broker_url=broker).replace(
            lease=plan.LEASE, sweep_interval=plan.SWEEP, step_grace=plan.GRACE, step_packages="chaos.steps"
        )
        self._env = {
            "SAGAWORKER_DATABASE_URL": url,
            "SAGAWORKER_BROKER_URL": broker,
            "SAGAWORKER_STEP_PACKAGES": "chaos.steps",
            "SAGAWORKER_LEASE": str(plan.LEASE),
            "SAGAWORKER_SWEEP_INTERVAL": str(plan.SWEEP),
            "SAGAWORKER_STEP_GRACE": str(plan.GRACE),
            world.FOLDER: str(self.world),
            INSIDE: str(self.inside),
        }
        self.engine = self._open.enter_context(Engine(self.settings, ring=Doorbells.from_settings(self.settings).ring))
        through_relay = self._env | {"SAGAWORKER_DATABASE_URL": relay.url}
        self.supervisor = Supervisor(
            [
                *(Process(name=name, argv=_celery("beat"), env=self._env) for name in BEATS),
                Process(name=MAINS[0], argv=_worker(MAINS[0]), env=self._env),
                Process(name=MAINS[1], argv=_worker(MAINS[1]), env=through_relay),
            ],
            output=self._heard,
        )
        self._open.enter_context(self.supervisor)

    def start_clients(self, size: plan.Size, *, seed: int, opens_at: float) -> Supervisor:
        """Two clients that share the sagas between them."""
        self.client_logs = [self.folder / f"{name}.jsonl" for name in CLIENTS]
        shared = {
            "--of": len(CLIENTS),
            "--seed": seed,
            "--opens-at": opens_at,
            "--sagas": size.sagas,
            "--doubled": size.doubled,
            "--window": size.window,
        }
        words = [str(word) for pair in shared.items() for word in pair]
        processes = [
            Process(
                name=name,
                argv=[sys.executable, "-m", "chaos.load", str(log), "--number", str(number), *words],
                env=self._env,
            )
            for number, (name, log) in enumerate(zip(CLIENTS, self.client_logs, strict=True))
        ]
        self.clients = Supervisor(processes, output=self._heard)
        return self._open.enter_context(self.clients)

    def children(self, main: str) -> list[int]:
        """The pool children of a worker, as they are now."""
        pid = self.supervisor.pid(main)
        # Read from the kernel's list for each thread: this is asked often, and psutil would read every process.
        lists = Path(f"/proc/{pid}/task").glob("*/children") if pid is not None else ()
        found: list[int] = []
        for listed in lists:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                found += map(int, listed.read_text().split())
        return found

    def wait_until_up(self) -> None:
        """Wait until both pools are complete."""
        until = time.monotonic() + 30
        while any(len(self.children(main)) < CHILDREN for main in MAINS):
            if time.monotonic() > until:
                raise RuntimeError(f"workers must be up within 30 s, got: {(self.folder / 'log').read_text()[-3000:]}")
            time.sleep(0.1)

    def _heard(self, name: str, line: str) -> None:
        with self._log_lock:
            if self._log.closed:
                return
            self._log.write(f"{time.time():.3f} {name} {line}\n")
            self.told.update(word for word, phrase in TOLD.items() if phrase in line)


def _celery(*options: str) -> list[str]:
    return [sys.executable, "-m", "celery", "-A", "sagaworker.celery_app", *options, "-l", "WARNING"]


def _worker(name: str) -> list[str]:
    pool = ("-c", str(CHILDREN), "--without-mingle", "--without-gossip")
    return _celery("worker", "-n", f"{name}@chaos", *pool)
