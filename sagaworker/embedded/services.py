"""The servers for `sagaworker up`, the demo and development: an embedded one for each URL that is not given."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from sagaworker.embedded.folder import make_folder
from sagaworker.embedded.postgres import EmbeddedPostgres
from sagaworker.embedded.valkey import EmbeddedValkey

DATABASE_URL = "SAGAWORKER_DATABASE_URL"
BROKER_URL = "SAGAWORKER_BROKER_URL"
HOME = "SAGAWORKER_HOME"


class Services:
    """A database and a broker: the ones named in the environment, else embedded ones below `folder`.

    `folder` defaults to SAGAWORKER_HOME, else `.sagaworker` in the current folder.

    >>> with Services() as services:  # doctest: +SKIP
    ...     subprocess.run(["sagaworker", "migrate"], env={**os.environ, **services.env})
    """

    def __init__(
        self, folder: Path | None = None, *, env: Mapping[str, str] | None = None, durable: bool = True
    ) -> None:
        env = os.environ if env is None else env
        self.folder = (folder or Path(env.get(HOME) or ".sagaworker")).absolute()
        self._given = {name: env[name] for name in (DATABASE_URL, BROKER_URL) if env.get(name)}
        self._durable = durable
        self._running = ExitStack()
        self._env: dict[str, str] = {}
        self.postgres: EmbeddedPostgres | None = None
        self.valkey: EmbeddedValkey | None = None

    @property
    def env(self) -> dict[str, str]:
        """The two variables for processes that use the servers; to be added to their environment."""
        return dict(self._env)

    def start(self) -> dict[str, str]:
        """Start the servers that are not given and return `env`; if one fails, none is left running.

        Raises:
            FolderInUse: another live process owns the folder.
            ServerFailed: a server could not be started.
        """
        urls = dict(self._given)
        with ExitStack() as running:
            if len(urls) < 2:  # noqa: PLR2004 - both given: nothing of ours is needed
                self._make_home()
            if DATABASE_URL not in urls:
                self.postgres = running.enter_context(EmbeddedPostgres(self.folder / "postgres", self._durable))
                urls[DATABASE_URL] = self.postgres.url
            if BROKER_URL not in urls:
                self.valkey = running.enter_context(EmbeddedValkey(self.folder / "valkey", self._durable))
                urls[BROKER_URL] = self.valkey.url
            self._running = running.pop_all()
        self._env = urls
        return self.env

    def stop(self) -> None:
        """Stop the servers that were started, the broker first. Their clients must have ended."""
        self._running.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _make_home(self) -> None:
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        if not self.folder.exists():
            make_folder(self.folder, 0o711 if os.geteuid() == 0 else 0o700)
            # The folder is often in a checkout.
            (self.folder / ".gitignore").write_text("*\n")
