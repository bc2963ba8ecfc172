"""The commands called in this process, on a ledger of the test's own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sagaworker.cli import app
from sagaworker.engine import Engine
from sagaworker.settings import Settings


@dataclass(frozen=True)
class Commands:
    """Calls `sagaworker` with an environment of its own: no broker, and no running `up` in reach."""

    env: dict[str, str | None]

    def __call__(self, *arguments: str, **env: str | None) -> Result:
        result = CliRunner().invoke(app, arguments, env={**self.env, **env})
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def json(self, *arguments: str, status: int = 0) -> Any:
        """What `--json` printed."""
        result = self(*arguments, "--json")
        assert result.exit_code == status, result.output
        return json.loads(result.stdout)


@pytest.fixture
def commands(database_url: str, tmp_path: Path) -> Commands:
    return Commands(
        {"SAGAWORKER_DATABASE_URL": database_url, "SAGAWORKER_BROKER_URL": None, "SAGAWORKER_HOME": str(tmp_path)}
    )


@pytest.fixture
def nowhere(tmp_path: Path) -> Commands:
    """The commands without a ledger."""
    return Commands({"SAGAWORKER_DATABASE_URL": None, "SAGAWORKER_BROKER_URL": None, "SAGAWORKER_HOME": str(tmp_path)})


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    with Engine(Settings(database_url=database_url)) as engine:
        yield engine


@pytest.fixture
def finished(commands: Commands) -> Callable[..., str]:
    """Start a saga and walk it to its end by the commands; its id."""

    def walked(kind: str, *steps: str, key: str = "one") -> str:
        id = commands.json("start", kind, *steps, "--key", key)["id"]
        commands("run", id)
        return str(id)

    return walked
