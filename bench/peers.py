"""The peers: a separate environment, and a process for each peer that measures itself when asked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Self

from bench.server import say

ROOT = Path(__file__).resolve().parent.parent
PINS = ROOT / "bench" / "peers.txt"
ENVIRONMENT = ROOT / ".bench-venv"


class NotRun(Exception):
    """A peer could not be measured; the text says why."""


def interpreter() -> Path:
    """The Python of the peers' environment. The environment is made from peers.txt, unless that was done with the same text.

    Raises:
        NotRun: the environment cannot be made, for example because no package index is reached.
    """
    python, stamp = ENVIRONMENT / "bin" / "python", ENVIRONMENT / "made-from.txt"
    pins = PINS.read_text(encoding="utf-8")
    if stamp.exists() and stamp.read_text(encoding="utf-8") == pins:
        return python
    say(f"installing the peers into {ENVIRONMENT.name}")
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)],
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(PINS)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = next(iter(done.stderr.strip().splitlines()[-1:]), "no reason given")
            raise NotRun(f"{' '.join(command[1:4])} failed: {reason}")
    stamp.write_text(pins, encoding="utf-8")
    return python


class Peer:
    """One peer, with its own process and database; alive between rounds, idle while others run."""

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self._errors = TemporaryFile("w+")  # noqa: SIM115 - a file, since a pipe that nobody reads would fill; closed in __exit__
        self._process = subprocess.Popen(
            [str(interpreter()), "-m", f"bench.{name}_peer", url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=ROOT,
        )
        self.version = str(self._answer()["version"])

    def measure(self, sagas: int, steps: int) -> dict[str, float]:
        """Seconds, by the peer's own clock, for so many sagas of so many steps: `start_and_run`, and `run` if it is separate."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"sagas": sagas, "steps": steps}) + "\n")
        self._process.stdin.flush()
        return {name: float(seconds) for name, seconds in self._answer().items()}

    def _answer(self) -> dict[str, str | float]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._errors.seek(0)
            errors = self._errors.read()
            raise NotRun(f"{self.name} ended: {next(iter(errors.strip().splitlines()[-1:]), 'without a word')}")
        answer: dict[str, str | float] = json.loads(line)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the peer's input, which ends the peer; kill it if it goes on."""
        try:
            self._process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        finally:
            self._errors.close()
