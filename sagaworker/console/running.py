"""The note that a running `sagaworker up` leaves in its folder, by which the other commands find its servers.

The note holds passwords, so only its owner can read it. Its writer keeps it locked: the kernel releases the lock when
the writer ends, killed or not, so a note that was left behind is never believed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sagaworker.errors import InvalidInput

NAME = "up.json"
HOME = "SAGAWORKER_HOME"


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """Where the servers of a running `sagaworker up` are."""

    database_url: str = field(repr=False)
    broker_url: str = field(repr=False)
    flower_url: str
    pid: int


def home(env: Mapping[str, str] | None = None) -> Path:
    """The folder of `sagaworker up`: SAGAWORKER_HOME, else `.sagaworker` here."""
    return Path((os.environ if env is None else env).get(HOME) or ".sagaworker").absolute()


@contextlib.contextmanager
def usable(folder: Path) -> Iterator[None]:
    """Within: an error of the system in or above the folder is raised as a sentence with its remedy.

    Raises:
        InvalidInput: the folder cannot be made, read or written.
    """
    try:
        yield
    except OSError as problem:
        name = Path(os.fsdecode(problem.filename)) if isinstance(problem.filename, str | bytes) else None
        if name is None or not (name.is_relative_to(folder) or folder.is_relative_to(name)):
            raise
        raise _unusable(folder, problem) from problem


def _unusable(folder: Path, problem: OSError) -> InvalidInput:
    return InvalidInput(
        f"folder {folder} must be one that `sagaworker up` can use, got: {problem.strerror} ({problem.filename})",
        "choose another one: SAGAWORKER_HOME",
    )


@contextlib.contextmanager
def published(folder: Path, running: Running) -> Iterator[None]:
    """Within: the note is there and locked. One `up` a folder.

    Raises:
        InvalidInput: another `sagaworker up` runs in the folder.
    """
    path = folder / NAME
    note = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(note, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InvalidInput(
                f"`sagaworker up` cannot start in folder {folder}: one runs there",
                "stop that one, or choose another folder: SAGAWORKER_HOME",
            ) from None
        os.fchmod(note, 0o600)
        os.ftruncate(note, 0)
        os.pwrite(note, json.dumps(asdict(running)).encode(), 0)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
    finally:
        os.close(note)


def find(folder: Path) -> Running | None:
    """The note of the `up` that runs in this folder, or None when none does.

    Raises:
        InvalidInput: another user's `up` runs there.
    """
    try:
        file = (folder / NAME).open("rb")
    except FileNotFoundError:
        return None
    except PermissionError:
        raise InvalidInput(
            f"the `sagaworker up` in {folder} must be yours, got another user's",
            "set SAGAWORKER_DATABASE_URL, or run this as that user",
        ) from None
    except OSError as problem:
        raise _unusable(folder, problem) from problem
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            text = file.read()
            # Locked and still empty: its writer is between two lines.
            return Running(**json.loads(text)) if text else None
    return None
