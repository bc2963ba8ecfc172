"""The world that steps change: one file a saga, outside the database, that survives any kill.

An effect happens when its line is in the file. The world honours tombstones, as a good downstream service would: after an
undo under a key, no effect happens under that key.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FOLDER = "CHAOS_WORLD"
FSYNC = "CHAOS_FSYNC"


class Refused(Exception):
    """The effect's key was undone already: the effect came too late and did not happen."""


class World:
    """The effects of one saga, as its steps noted them."""

    def __init__(self, saga_id: str, *, folder: str | None = None) -> None:
        self._path = Path(folder or os.environ[FOLDER]) / saga_id

    def note(self, what: str, idx: int, attempt: int, fence: int) -> None:
        """Append one line, durably."""
        with self._locked() as fd:
            self._append(fd, what, idx, attempt, fence)

    def act(self, idx: int, attempt: int, fence: int, *, tombstone: bool) -> None:
        """Make the effect of a step happen.

        Raises:
            Refused: with `tombstone`, the effect of this step was undone before. Only the refusal is noted.
        """
        with self._locked() as fd:
            undone = tombstone and any(line["idx"] == idx and line["what"] == "undid" for line in read(self._path))
            self._append(fd, "refused" if undone else "did", idx, attempt, fence)
        if undone:
            raise Refused(f"effect {idx} of {self._path.name} comes after its undo")

    @contextmanager
    def _locked(self) -> Iterator[int]:
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield fd
        finally:
            os.close(fd)

    def _append(self, fd: int, what: str, idx: int, attempt: int, fence: int) -> None:
        line = {"what": what, "idx": idx, "attempt": attempt, "fence": fence, "pid": os.getpid(), "at": time.time()}
        os.write(fd, json.dumps(line).encode() + b"\n")
        if os.environ.get(FSYNC, "1") == "1":
            os.fsync(fd)


def has_happened(saga_id: str, idx: int) -> bool:
    """Whether the effect of a step is there, as a person or a probe would find out."""
    told = [line["what"] for line in read(Path(os.environ[FOLDER]) / saga_id) if line["idx"] == idx]
    return next((what == "did" for what in reversed(told) if what in ("did", "undid")), False)


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of one saga, in order; empty if nothing happened. A line that is being written is left out."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
