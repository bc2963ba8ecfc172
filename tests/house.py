"""A PostgreSQL for one test that is reached in other ways than over 127.0.0.1, and a host that can vanish."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from sagaworker.embedded import EmbeddedPostgres


class HousePostgres(EmbeddedPostgres):
    """The embedded server with the test's settings: its address, its certificate."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        super().__init__(folder, durable=False)
        self._extra = settings

    def _settings(self, port: int) -> dict[str, str]:
        return super()._settings(port) | dict(self._extra)


class Host:
    """An address of this machine that can vanish: every packet to it and from it is dropped without an answer.

    The kernel drops packets at its input, so that the sender learns nothing, as with a host that lost its power.
    """

    def __init__(self) -> None:
        # All of 127/8 is this machine; each process of the tests takes one address.
        self.address = f"127.{64 + os.getpid() % 128}.{os.getpid() // 128 % 250}.7"
        self._is_away = False

    def vanish(self) -> None:
        for way in ("-d", "-s"):
            _iptables("-I", "INPUT", way, self.address, "-j", "DROP")
        self._is_away = True

    def come_back(self) -> None:
        if self._is_away:
            for way in ("-d", "-s"):
                _iptables("-D", "INPUT", way, self.address, "-j", "DROP")
            self._is_away = False


def _iptables(*arguments: str) -> None:
    subprocess.run(["iptables", "-w", *arguments], check=True, capture_output=True, text=True)


@contextlib.contextmanager
def host() -> Iterator[Host]:
    """A host that can vanish. The test is skipped where we may not drop packets. The rules are removed afterwards."""
    if os.geteuid() != 0 or shutil.which("iptables") is None:
        pytest.skip("to drop packets takes root and iptables")
    made = Host()
    try:
        made.vanish()
    except subprocess.CalledProcessError as refused:
        for way in ("-d", "-s"):
            with contextlib.suppress(subprocess.CalledProcessError):
                _iptables("-D", "INPUT", way, made.address, "-j", "DROP")
        pytest.skip(f"iptables may not be used here: {refused.stderr}")
    made.come_back()
    try:
        yield made
    finally:
        made.come_back()
