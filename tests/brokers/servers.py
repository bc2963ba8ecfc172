"""Brokers that come with no wheel, as processes of this machine where their programs are installed: RabbitMQ, Redis, Sentinel.

`make brokers` says how to install them. Without them the tests that ask for them are skipped.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil
import pytest
import redis
from kombu import Connection

from tests.waiting import wait_until

RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # Debian's wrapper before it changes to another user


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def program(*names: str) -> str:
    """The first of these programs that is installed; the test is skipped where none is."""
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip(f"{names[0]} is not installed (see `make brokers`)")
    return found


class Certificate:
    """Of a server on this machine, signed by itself."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.file, self.key = folder / "cert.pem", folder / "key.pem"
        subprocess.run(
            [
                *(program("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
                *("-keyout", str(self.key), "-out", str(self.file), "-subj", "/CN=localhost"),
                *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            ],
            check=True,
            capture_output=True,
        )


class ServerProcess(ABC):
    """A server in a process group of its own, in a folder of its own."""

    def __init__(self, folder: Path, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._command = list(command)
        self._env = {**os.environ, **(env or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=self._env, cwd=self.folder, stdout=log, stderr=log, start_new_session=True
            )

    def wait_until_ready(self) -> None:
        wait_until(self._answers, timeout=60, every=0.1, what=f"an answer of {self._command[0]}: {self._log()}")

    def _log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-2000:]

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"{self._command[0]} exited {self._process.returncode}: {self._log()}")
        return self.answers()

    @abstractmethod
    def answers(self) -> bool:
        """Whether a client would be served now."""

    def send(self, signum: int) -> None:
        """To the whole group."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signum)

    def stop(self) -> None:
        if self._process is not None:
            self.send(signal.SIGCONT)
            self.send(signal.SIGKILL)
            self._process.wait(20)

    def __enter__(self):
        self.start()
        self.wait_until_ready()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class RabbitMQ(ServerProcess):
    """A RabbitMQ of one node with a port mapper of its own."""

    def __init__(self, folder: Path, certificate: Certificate | None = None) -> None:
        if not os.access(RABBITMQ, os.X_OK):
            pytest.skip("rabbitmq-server is not installed (see `make brokers`)")
        self.port = free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}//"
        self.tls_port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        if certificate is not None:
            (folder / "rabbitmq.conf").write_text(
                f"listeners.ssl.1 = 127.0.0.1:{self.tls_port}\nssl_options.certfile = {certificate.file}\n"
                f"ssl_options.keyfile = {certificate.key}\nssl_options.verify = verify_none\n"
            )
        env = {
            "HOME": str(folder),
            "RABBITMQ_NODENAME": f"sagaworker{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "logs"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "none.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "ERL_EPMD_PORT": str(free_port()),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
        super().__init__(folder, [str(RABBITMQ)], env)

    def answers(self) -> bool:
        try:
            with Connection(self.url, connect_timeout=2) as connection:
                connection.connect()
        except (OSError, *Connection(self.url).connection_errors):
            return False
        return True

    def virtual_host(self, name: str) -> str:
        """The URL of a virtual host of its own: queues of two tests never meet."""
        control = RABBITMQ.with_name("rabbitmqctl")
        for arguments in (["add_vhost", name], ["set_permissions", "-p", name, "guest", ".*", ".*", ".*"]):
            subprocess.run(
                [str(control), "-n", self._env["RABBITMQ_NODENAME"], *arguments],
                env=self._env,
                check=True,
                capture_output=True,
            )
        return f"amqp://guest:guest@127.0.0.1:{self.port}/{name}"

    def stop(self) -> None:
        super().stop()
        # The port mapper has left the group; it is known by its port, and kills itself for nobody while it knows a node.
        for process in psutil.process_iter(["name"]):
            with contextlib.suppress(psutil.Error):
                if (
                    process.info["name"] == "epmd"
                    and process.environ().get("ERL_EPMD_PORT") == self._env["ERL_EPMD_PORT"]
                ):
                    process.kill()


class RedisServer(ServerProcess):
    """A Redis, or with `tls` one that speaks TLS only."""

    def __init__(self, folder: Path, *options: str, tls: Path | None = None) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        listen = ["--port", str(self.port)]
        if tls is not None:
            self.url = f"rediss://127.0.0.1:{self.port}/0?ssl_cert_reqs=required&ssl_ca_certs={tls}"
            listen = ["--port", "0", "--tls-port", str(self.port), "--tls-ca-cert-file", str(tls)]
        at = [*listen, "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
        super().__init__(folder, [program("redis-server", "valkey-server"), *at, *options])

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url)

    def answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False


class Sentinel(ServerProcess):
    """A sentinel that alone decides who the master of `shop` is."""

    def __init__(self, folder: Path, master: RedisServer) -> None:
        self.port = free_port()
        self.url = f"sentinel://127.0.0.1:{self.port}/0"
        folder.mkdir(parents=True)
        conf = folder / "sentinel.conf"
        conf.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {folder}\nsentinel monitor shop 127.0.0.1 {master.port} 1\n"
            "sentinel down-after-milliseconds shop 1000\nsentinel failover-timeout shop 3000\n"
        )
        super().__init__(folder, [program("redis-sentinel", "valkey-sentinel"), str(conf)])

    def answers(self) -> bool:
        return self.master() is not None

    def replicas(self) -> list[int]:
        """The ports of the replicas it knows."""
        with redis.Redis(port=self.port) as client:
            return [int(one["port"]) for one in client.sentinel_slaves("shop")]

    def master(self) -> int | None:
        """The port of the master."""
        try:
            with redis.Redis(port=self.port) as client:
                return int(client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "shop")[1])
        except redis.ConnectionError:
            return None
