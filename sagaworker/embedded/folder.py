"""The folder of one embedded server: who owns it now, its password, its port and where its data are."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import socket
import tempfile
from pathlib import Path

from sagaworker.embedded.process import Account, ServerFailed
from sagaworker.errors import SagaworkerError

# Above the ports of well-known services. Below the ports that the kernel gives to outgoing connections (32768 up): such a
# connection could occupy our port while the server is down.
_PORTS = range(15_000, 32_000)
_PRIVATE = 0o600
_OPEN = 0o755


class FolderInUse(SagaworkerError):
    """Another live process owns the folder. Nothing was started or changed."""

    def __init__(self, folder: str, pid: str) -> None:
        super().__init__(folder, pid)
        self.folder = folder
        self.pid = pid

    def __str__(self) -> str:
        return (
            f"folder {self.folder} must have one owner at a time, got process {self.pid} which runs it now\n"
            "stop that process, or choose another folder (SAGAWORKER_HOME)"
        )


class ServerFolder:
    """The folder of a server: everything that is kept from one run to the next.

    The open file holds the lock, so the kernel releases the lock when the owner ends, killed or not.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock: int | None = None

    @property
    def locked(self) -> bool:
        return self._lock is not None

    def lock(self) -> None:
        """Become the owner, or raise FolderInUse; makes the folder when it is missing."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Root's server runs as another user, who must be able to enter. A folder that exists stays as it is.
        make_folder(self.path, 0o711 if os.geteuid() == 0 else 0o700)
        try:
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, _PRIVATE)
            self._give_to_folder_owner(lock)
        except PermissionError:
            raise ServerFailed(
                "servers", f"folder {self.path} which belongs to another user", "choose another one: SAGAWORKER_HOME"
            ) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(lock, 32).decode() or "unknown"
            os.close(lock)
            raise FolderInUse(str(self.path), owner) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        self._lock = lock

    def unlock(self) -> None:
        """Give the folder up; the server must be stopped."""
        if self._lock is not None:
            os.ftruncate(self._lock, 0)
            os.close(self._lock)
            self._lock = None

    def password(self) -> str:
        """The server's password, made the first time; the file is readable by its owner only."""
        kept = self._kept("password")
        return kept or self._keep("password", secrets.token_urlsafe(32))

    def port(self) -> int:
        """The port of the last run if it is free, else a free one, kept from now on."""
        kept = self._kept("port")
        if kept.isdigit() and port_is_free(int(kept)):
            return int(kept)
        for _ in range(200):
            port = secrets.choice(_PORTS)
            if port_is_free(port):
                return int(self._keep("port", str(port)))
        raise ServerFailed("servers", f"no free port from {_PORTS.start} to {_PORTS.stop}")

    def log(self) -> Path:
        """The file for this run's output. Only the file of the run before is kept beside it."""
        log = self.path / "log"
        if log.exists():
            log.replace(self.path / "log.1")
        log.touch(mode=_PRIVATE)  # private: it has statements and their values
        return log

    def data(self, account: Account | None, *, durable: bool) -> Path:
        """The folder of the data: in this folder, or elsewhere if `account` cannot enter this folder.

        Data elsewhere that are not durable, or whose folder was among temporary files, are removed once their folder is
        gone, when another folder's data go there. Other data are kept: their folder may only be unmounted.
        """
        place = self._kept("data-place")
        if place:
            make_folder(Path(place), 0o711)  # A killed run may have noted the place and not made it.
            return Path(place) / "data"
        inside = self.path / "data"
        if account is None or account.can_reach(self.path):
            return inside
        # The folder is below a closed home, such as /root. We do not open somebody's folders to all.
        elsewhere = open_place()
        for left in elsewhere.glob("throw-away-*"):
            if (origin := _text(left / "belongs-to")) and _text(Path(origin) / "data-place") != str(left):
                shutil.rmtree(left, ignore_errors=True)
        passing = not durable or self.path.is_relative_to(tempfile.gettempdir())
        moved = elsewhere / f"{'throw-away' if passing else 'data'}-{secrets.token_hex(8)}"
        self._keep("data-place", str(moved))
        make_folder(moved, 0o711)
        (moved / "belongs-to").write_text(str(self.path))
        return moved / "data"

    def _kept(self, name: str) -> str:
        return _text(self.path / name)

    def _keep(self, name: str, text: str) -> str:
        # Written wholly or not at all, whenever we are killed.
        partial = self.path / f"{name}.partial"
        partial.unlink(missing_ok=True)
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE), "w") as file:
            self._give_to_folder_owner(file.fileno())
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.path / name)
        return text

    def _give_to_folder_owner(self, file: int) -> None:
        # Root may use a user's folder; the user must be able to use it again.
        if os.geteuid() == 0:
            owner = self.path.stat()
            os.fchown(file, owner.st_uid, owner.st_gid)


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except FileNotFoundError:
        return ""


def make_folder(path: Path, mode: int) -> None:
    """Make a folder with exactly this mode, whatever the umask. An existing folder is left as it is."""
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        return
    path.chmod(mode)


def port_is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def open_place() -> Path:
    """Root's own folder for files that `nobody` must reach: any account can enter it, none can write."""
    for place in (Path("/var/lib/sagaworker"), Path("/var/tmp/sagaworker-root")):  # noqa: S108 - owner checked below
        try:
            make_folder(place, _OPEN)
            found = place.lstat()
        except OSError:
            continue
        # In /var/tmp somebody else may have made the name first.
        if found.st_uid == 0 and found.st_mode & 0o777 == _OPEN and not place.is_symlink():
            return place
    raise ServerFailed(
        "servers", "no folder that the user nobody can enter", "choose one outside root's home: SAGAWORKER_HOME"
    )
