"""A shop as a whole: its database with our ledger in it, its broker, its web server, workers and beat."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx
import psycopg

from sagaworker import Engine
from sagaworker.settings import Settings
from tests.celery.nodes import ROOT, ProcessContainer
from tests.hosts import gates
from tests.showing import timeline
from tests.waiting import wait_until

HERE = Path(__file__).parent
# So long that nothing but a doorbell brings a saga to a worker within a test.
SWEEP = 60


@dataclass(frozen=True)
class Broker:
    """Where a shop's messages go, and where its tasks leave their results."""

    name: str
    url: str
    results: str


NO_BROKER = Broker("none", "memory://", "cache+memory://")


@dataclass(frozen=True)
class Project:
    """A shop's folder, and how its processes are started in it."""

    folder: Path
    app: str
    package: str
    migrate: tuple[str, ...]
    web: tuple[str, ...]


DJANGO = Project(
    HERE / "django_shop",
    app="shop",
    package="shop",
    migrate=("manage.py", "migrate", "-v", "0"),
    web=("manage.py", "runserver", "--noreload", "127.0.0.1:{port}"),
)
FASTAPI = Project(
    HERE / "fastapi_shop",
    app="store.worker",
    package="store",
    migrate=("-m", "alembic", "upgrade", "head"),
    web=("-m", "uvicorn", "store.main:app", "--port", "{port}", "--log-level", "warning"),
)


class InFolder(ProcessContainer):
    """A process in the shop's folder, ready when its log says so."""

    def __init__(self, host: Host, kind: str, prompt: str | None, *command: str, **env: str) -> None:
        self.kind = kind
        self.ready_prompt = prompt
        where = ["env", f"--chdir={host.project.folder}", sys.executable]
        super().__init__(host.folder, [*where, *command], {**host.env, **env})


class Web(InFolder):
    """The shop's web server, ready when it answers."""

    def __init__(self, host: Host) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
        self.url = f"http://127.0.0.1:{port}"
        super().__init__(host, "web", None, *(word.replace("{port}", port) for word in host.project.web))

    def _is_ready(self) -> bool:
        super()._is_ready()
        with contextlib.suppress(httpx.TransportError):
            return bool(httpx.get(self.url).status_code)
        return False


class Host:
    """One shop on servers of its own. Its engine here only looks: what it does, its own processes do."""

    def __init__(
        self, project: Project, folder: Path, database_url: str, broker: Broker, *, schema: str | None = None
    ) -> None:
        self.project = project
        self.package = project.package
        self.folder = folder
        self.database_url = database_url
        self.broker = broker
        given = {"SAGAWORKER_SWEEP_INTERVAL": str(SWEEP)} | ({"SAGAWORKER_SCHEMA": schema} if schema else {})
        self.env = {
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "default",
            "DATABASE_URL": database_url,
            "SAGAWORKER_DATABASE_URL": database_url,
            "BROKER_URL": broker.url,
            "RESULT_BACKEND": broker.results,
            gates.VARIABLE: str(folder),
            **given,
        }
        self.engine = Engine(Settings.from_env({}, database_url=database_url, schema=schema, sweep_interval=SWEEP))
        self.web: ProcessContainer
        self.hands: ProcessContainer  # the worker at hand
        self._client = httpx.Client(timeout=30, trust_env=False)
        self._processes: list[ProcessContainer] = []
        self._numbers = iter(range(1, 10_000))

    @property
    def test_database_url(self) -> str:
        """The database that Django makes for its tests: test_ and the name of its own."""
        server, _, name = self.database_url.rpartition("/")
        return f"{server}/test_{name}"

    def command(self, *command: str, **env: str) -> str:
        """Run a command in the shop's folder; what it printed. Fails with its output."""
        done = subprocess.run(
            [sys.executable, *command],
            cwd=self.project.folder,
            env={**os.environ, **self.env, **env},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def migrate(self) -> None:
        """The shop's own tables, then ours beside them, as a deployment does."""
        self.command(*self.project.migrate)
        self.ask("INSERT INTO episodes (title) VALUES ('Pilot')")
        self.command("-m", "sagaworker", "migrate")

    def open(self) -> None:
        """Start the web server and a worker."""
        self.web, self.hands = Web(self), self._worker()
        for process in (self.web, self.hands):
            self._begin(process)
        for process in (self.web, self.hands):
            process.ready()

    def worker(self, **env: str) -> ProcessContainer:
        return self._run(self._worker(**env))

    def _worker(self, **env: str) -> ProcessContainer:
        # Three children, so that a held saga and a held task leave one.
        name = f"shop{next(self._numbers)}@here"
        worker = ["-m", "celery", "-A", self.project.app, "worker", "-n", name, "-l", "INFO", "-c", "3"]
        return InFolder(self, "worker", " ready.", *worker, "--without-mingle", "--without-gossip", **env)

    def beat(self, **env: str) -> ProcessContainer:
        beat = ["-m", "celery", "-A", self.project.app, "beat", "-l", "INFO"]
        return self._run(InFolder(self, "beat", "beat: Starting", *beat, **env))

    def _run(self, container: ProcessContainer) -> ProcessContainer:
        self._begin(container)
        container.ready()
        return container

    def _begin(self, container: ProcessContainer) -> None:
        self._processes.append(container)
        container.start()

    def post(self, path: str, *, status: int = 200, **wish: object) -> dict[str, Any]:
        answer = self._client.post(f"{self.web.url}{path}", json=wish)
        assert answer.status_code == status, (answer.status_code, answer.text, self.web.logs()[-3000:])
        return answer.json() if answer.headers["content-type"].startswith("application/json") else {}

    def submit(self, path: str, **form: str) -> dict[str, Any]:
        """As a form, and in the query: each shop reads it where it is used to."""
        return self._client.post(f"{self.web.url}{path}", data=form, params=form).raise_for_status().json()

    def order(self, **wish: object) -> dict[str, Any]:
        """Place an order: its own id and its saga's."""
        if self.project is FASTAPI:
            wish = {"inputs": wish}
        return self.post("/orders", **wish)

    def look(self, order: int) -> dict[str, Any]:
        return self._client.get(f"{self.web.url}/orders/{order}").raise_for_status().json()

    def status_of(self, order: int) -> str:
        return self.look(order)["status"]

    def finished(self, saga_id: str, timeout: float = 20):
        """The terminal run; fails with its timeline and what the workers said."""
        try:
            return self.engine.wait(saga_id, timeout=timeout)
        except Exception as exc:
            logs = "\n".join(f"{p.name}\n{p.logs()[-3000:]}" for p in self._processes)
            raise AssertionError(f"{exc}\n{timeline(self.engine, saga_id)}\n{logs}") from exc

    def gate(self, name: str) -> gates.Gate:
        return gates.Gate(self.folder, name)

    def ask(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            found = connection.execute(query, parameters)
            return found.fetchall() if found.description else []

    def end_connections(self) -> None:
        """End those that the worker's children have of their own, as a database that is restarted does; ours stay."""
        children = {connection.laddr.port for child in self.hands.children() for connection in child.net_connections()}
        ports = [port for port in children if port]
        self.ask(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name !~ '^sagaworker' AND client_port = ANY(%s)",
            ports,
        )

    def stop(self, container: ProcessContainer, *, opening: gates.Gate) -> None:
        """As a deployment stops a worker: SIGTERM, and what it has in hand is finished first."""
        container.kill("SIGTERM")
        wait_until(lambda: "Warm shutdown" in container.logs(), what="the worker told to stop")
        opening.opens()
        assert container.wait(20) == 0, container.logs()[-3000:]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for process in self._processes:
            process.teardown()
        self._client.close()
        self.engine.close()
