"""The local witness: the main process sees a pool child die within milliseconds and has its sagas taken over.

Celery's event loop may report a lost child seconds later. Here a thread of main waits on the children's pidfds. Each
child reports itself through a pipe when it starts, so that children forked later (replacements, autoscale) are watched
like the first ones.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import selectors
import struct
import threading
import time
import uuid
from collections.abc import Callable
from typing import NamedTuple

log = logging.getLogger(__name__)

_REPORT = struct.Struct("!i16s")  # pid and owner; far below PIPE_BUF, so a report is written and read whole
FORK_WAITS = 3.0  # seconds that a fork waits at most for a takeover under way


class Child(NamedTuple):
    """A pool child as it reported itself."""

    pid: int
    owner: str


class Witness:
    """Calls `bury(owner, pid)` once for each reported child, soon after it died. One thread; none before `watch`.

    Guarantee: this process does not fork while `bury` runs, so that no child inherits a half-used connection or a lock
    of the database driver. A fork waits for FORK_WAITS seconds at most, then goes on regardless.
    """

    def __init__(self, bury: Callable[[str, int], int]) -> None:
        self._bury = bury
        self._reports: int | None = None
        self._reporting: int | None = None
        self._main = 0
        self._deaths: int | None = None
        self._telling: int | None = None
        self._watched: dict[int, Child] = {}
        self._forks = threading.Lock()
        self._fork_waits = False

    def prepare(self) -> None:
        """In main, before the first fork: open the pipe for the reports, and the pipe for the deaths.

        Without pidfds (not Linux, or forbidden by a container's filter) no child is reported or watched: the leases do
        the work.
        """
        self._main = os.getpid()
        try:
            os.close(os.pidfd_open(self._main))
        except (AttributeError, OSError) as exc:
            log.warning("dead pool children are found by their leases only: no pidfds here (%s)", exc)
        else:
            self._reports, self._reporting = os.pipe()
        self._deaths, self._telling = os.pipe()
        for end in (self._deaths, self._telling):
            os.set_blocking(end, False)
        os.register_at_fork(
            before=self._before_fork, after_in_parent=self._after_fork, after_in_child=self._after_fork_in_child
        )

    def report(self, owner: str) -> None:
        """In a child, before it claims anything: this process works as `owner` from now on."""
        if self._reporting is not None and self._main != os.getpid():
            os.write(self._reporting, _REPORT.pack(os.getpid(), uuid.UUID(owner).bytes))

    @property
    def deaths(self) -> int:
        """A file number that becomes readable when a child is dead, can be reaped, and is buried; see `heard`."""
        if self._deaths is None:
            raise RuntimeError("deaths must be asked for after prepare, got none")
        return self._deaths

    def heard(self) -> None:
        """Note that main knows the deaths so far: `deaths` becomes readable again after the next one."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.deaths, 4096)

    def watch(self) -> None:
        """In main, after the first forks: start the thread, where children can report themselves."""
        if self._reports is None:
            return
        threading.Thread(target=self._run, name="sagaworker-witness", daemon=True).start()

    def settle(self, *, timeout: float) -> None:
        """At the end of main, when the pool has ended: wait until all its children are buried."""
        deadline = time.monotonic() + timeout
        while self._watched and time.monotonic() < deadline:
            time.sleep(0.01)

    def _run(self) -> None:
        assert self._reports is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._reports, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fd == self._reports:
                        self._read_reports(selector)
                    else:
                        selector.unregister(key.fd)
                        self._died(self._watched[key.fd])
                        del self._watched[key.fd]
                        os.close(key.fd)
                        self._tell()

    def _read_reports(self, selector: selectors.BaseSelector) -> None:
        assert self._reports is not None
        for pid, owner in _REPORT.iter_unpack(os.read(self._reports, 100 * _REPORT.size)):
            child = Child(pid, str(uuid.UUID(bytes=owner)))
            try:
                pidfd = os.pidfd_open(pid)
            except OSError as exc:
                if exc.errno != errno.ESRCH:
                    log.warning("pool child %d is watched by its lease only: %s", pid, exc)
                else:
                    self._died(child)  # died and was reaped before its report was read
                continue
            self._watched[pidfd] = child
            selector.register(pidfd, selectors.EVENT_READ)

    def _tell(self) -> None:
        assert self._telling is not None
        with contextlib.suppress(BlockingIOError):  # full: main has enough deaths to read
            os.write(self._telling, b"\0")

    def _died(self, child: Child) -> None:
        began = time.monotonic()
        try:
            with self._forks:
                taken = self._bury(child.owner, child.pid)
        except Exception as exc:  # noqa: BLE001 - the thread must live; the lease replaces a burial that failed
            log.warning("sagas of dead pool child %d not taken over, their leases will end: %s", child.pid, exc)
            return
        if taken:
            took = (time.monotonic() - began) * 1000
            log.warning("pool child %d died: %d sagas taken over in %.0f ms", child.pid, taken, took)

    def _before_fork(self) -> None:
        self._fork_waits = os.getpid() == self._main and self._forks.acquire(timeout=FORK_WAITS)

    def _after_fork(self) -> None:
        if self._fork_waits:
            self._fork_waits = False
            self._forks.release()

    def _after_fork_in_child(self) -> None:
        self._forks = threading.Lock()
