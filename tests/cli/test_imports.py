"""What a client and the help import: only what they use. Counted by modules, which no machine's load changes."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from sagaworker.cli import app
from sagaworker.cli.group import Later

SHOWN = "print(*{name.partition('.')[0] for name in sys.modules})"


def loaded(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has imported after this code."""
    done = subprocess.run([sys.executable, "-c", f"import sys\n{code}\n{SHOWN}"], capture_output=True, check=True)
    return set(done.stdout.decode().splitlines()[-1].split())


def test_a_client_loads_no_migrations_no_broker_and_no_terminal() -> None:
    found = loaded("import sagaworker\nsagaworker.Engine")
    assert {"sagaworker", "sqlalchemy", "psycopg"} <= found
    assert found & {"alembic", "mako", "celery", "kombu", "click", "rich", "prometheus_client", "steps"} == set()


def test_sessions_of_an_orm_are_no_reason_to_load_one() -> None:
    code = "import sagaworker\nsagaworker.Engine\nassert 'sqlalchemy.orm' not in sys.modules"
    assert "sqlalchemy" in loaded(code)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["nonsense"]])
def test_the_help_loads_nothing_that_a_command_needs(arguments: list[str]) -> None:
    code = f"sys.argv = ['sagaworker', *{arguments}]\nfrom sagaworker.cli import main\ntry: main()\nexcept SystemExit: pass"
    found = loaded(code)
    assert {"sagaworker", "click"} <= found
    assert found & {"sqlalchemy", "psycopg", "alembic", "celery", "kombu", "rich"} == set()


def test_a_command_on_sagas_loads_no_migrations_no_broker_and_no_servers() -> None:
    code = "sys.argv = ['sagaworker', 'list', '--help']\nfrom sagaworker.cli import main\ntry: main()\nexcept SystemExit: pass"
    found = loaded(code + "\nassert 'sagaworker.embedded' not in sys.modules")
    assert "sqlalchemy" in found
    assert found & {"alembic", "mako", "celery", "kombu", "redis"} == set()


def test_a_step_module_loads_no_driver() -> None:
    found = loaded("from sagaworker import SagaState, StepFailed")
    assert found & {"sqlalchemy", "psycopg", "alembic", "celery", "kombu", "click", "rich"} == set()


@pytest.mark.parametrize("name", app.commands)
def test_each_line_of_the_help_is_the_first_sentence_of_its_command(name: str) -> None:
    line = app.commands[name]
    assert isinstance(line, Later)
    command = app.get_command(click.Context(app), name)
    assert command is not None
    assert command.name == name
    assert not isinstance(command, Later)
    for room in (40, 60, 1000):
        assert line.get_short_help_str(room) == command.get_short_help_str(room)
