"""pytest-celery nodes that are processes of this machine: the same containers, nodes and setup, and no Docker."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil
from pytest_celery import CeleryTestContainer, CeleryTestWorker

from tests.waiting import PATIENCE, wait_until

ROOT = Path(__file__).parents[2]
_numbers = itertools.count(1)


class ProcessContainer(CeleryTestContainer):
    """What pytest-celery asks of a container, answered by a process in a group of its own."""

    kind = "process"
    ready_prompt = None

    def __init__(self, folder: Path, command: Sequence[str], env: Mapping[str, str]) -> None:
        # Not super().__init__(): that wraps a container of Docker.
        self._number = next(_numbers)
        self._command = list(command)
        self._env = {**os.environ, **env}
        self._log = folder / f"{self.name}.log"
        self._offset = 0
        self.process: subprocess.Popen | None = None

    @property
    def id(self) -> str:
        return f"{self.kind}{self._number:04d}"

    @property
    def name(self) -> str:
        return f"{self.kind}-{self._number}"

    @property
    def status(self) -> str:
        return "running" if self.process is not None and self.process.poll() is None else "exited"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self):
        with self._log.open("ab") as log:
            self._offset = log.tell()
            self.process = subprocess.Popen(
                self._command, env=self._env, cwd=ROOT, stdout=log, stderr=log, start_new_session=True
            )
        return self

    def ready(self) -> bool:
        wait_until(self._is_ready, every=0.05, what=f"{self.name}: {self.ready_prompt!r} in its log")
        return True

    def _is_ready(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.name} exited {self.process.returncode}:\n{self.logs()[-4000:]}")
        return self.ready_prompt is None or self.ready_prompt in self.logs_since_start()

    def logs(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def logs_since_start(self) -> str:
        return self._log.read_bytes()[self._offset :].decode(errors="replace")

    def kill(self, signal: str | int = "SIGKILL") -> None:
        self.process.send_signal(_number(signal))

    def kill_group(self, signal: str | int = "SIGKILL") -> None:
        os.killpg(self.pid, _number(signal))

    def wait(self, timeout: float = PATIENCE) -> int:
        return self.process.wait(timeout)

    def restart(self, timeout: float = 30) -> None:
        self.teardown()
        self.start()
        self.ready()

    def reload(self) -> None:
        """A process has nothing to read anew."""

    def children(self) -> list[psutil.Process]:
        """The processes below it that live."""
        with contextlib.suppress(psutil.NoSuchProcess):
            below = psutil.Process(self.pid).children(recursive=True)
            return [child for child in below if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
        return []

    def teardown(self) -> None:
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)


class WorkerContainer(ProcessContainer):
    """`celery worker`."""

    kind = "worker"
    ready_prompt = " ready."

    def __init__(self, folder: Path, env: Mapping[str, str], *options: str, app: str = "sagaworker.celery_app") -> None:
        super().__init__(folder, [], env)
        name = f"{self.worker_name()}@{self.id[:12]}"
        start = [sys.executable, "-m", "celery", "-A", app, "worker", "-n", name, "-l", "INFO"]
        self._command = [*start, "--without-mingle", "--without-gossip", *options]
        if "WARNING" in options:
            self.ready_prompt = None  # it does not say so

    def version(self) -> str:
        import celery

        return celery.__version__

    def log_level(self) -> str:
        return "INFO"

    def worker_name(self) -> str:
        return "saga"

    def worker_queue(self) -> str:
        return "celery"


class CommandContainer(ProcessContainer):
    """Another celery command: beat, flower."""

    def __init__(self, folder: Path, env: Mapping[str, str], kind: str, prompt: str, *options: str) -> None:
        self.kind = kind
        self.ready_prompt = prompt
        command = [sys.executable, "-m", "celery", "-A", "sagaworker.celery_app", kind, *options]
        super().__init__(folder, command, env)


class Flower(ProcessContainer):
    """`celery flower`, asked over HTTP."""

    kind = "flower"

    def __init__(self, folder, env):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self.url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        command = [sys.executable, "-m", "celery", "-A", "sagaworker.celery_app", "flower", "--conf=flowerconfig.py"]
        port = f"--port={self.url.rpartition(':')[2]}"
        super().__init__(folder, [*command, port], {**env, "FLOWER_UNAUTHENTICATED_API": "true"})

    def _is_ready(self):
        super()._is_ready()
        try:
            # It hears only what happens from now on, so it must have found the worker first.
            return self.get("/api/workers?refresh=1")
        except OSError:
            return False

    def text(self, path):
        with urllib.request.urlopen(self.url + path, timeout=PATIENCE) as answer:
            return answer.read().decode()

    def get(self, path):
        return json.loads(self.text(path)) if path.startswith("/api") else self.text(path)

    def named(self, start):
        return [task for task in self.get("/api/tasks").values() if (task["name"] or "").startswith(start)]


class BrokerContainer(ProcessContainer):
    """The broker of the test, which is there already."""

    kind = "broker"

    def __init__(self, folder: Path, url: str) -> None:
        super().__init__(folder, [], {})
        self.url = url

    @property
    def status(self) -> str:
        return "running"

    @property
    def celeryconfig(self) -> dict[str, str]:
        return {"url": self.url, "host_url": self.url}

    def ready(self) -> bool:
        return True

    def teardown(self) -> None:
        """It is not ours to end."""


class WorkerNode(CeleryTestWorker):
    """A worker whose process can be looked into."""

    @property
    def worker_name(self) -> str:
        return self.container.worker_name()

    def get_running_processes_info(self, columns=None, filters=None) -> list[dict]:
        processes = [psutil.Process(self.container.pid), *self.container.children()]
        rows = [process.as_dict(columns or ["pid", "name", "cmdline"]) for process in processes]
        return [row for row in rows if all(row.get(key) == value for key, value in (filters or {}).items())]


def _number(name: str | int) -> int:
    return getattr(signal, name) if isinstance(name, str) else name
