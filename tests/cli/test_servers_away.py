"""A server that does not answer is told in one sentence, with host and port and without the password."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

import sagaworker
from sagaworker.console.unreachable import Unreachable, check_broker, database_trouble, where
from sagaworker.domain.records import SagaRun
from sagaworker.embedded import EmbeddedPostgres
from sagaworker.engine import Engine
from sagaworker.ledger.migrate import migrate
from tests.cli.conftest import Commands
from tests.servers import DatabaseServer

SECRET = "s3cr3t-pass"  # as in a URL
SAGA = "01a1fdc4-0000-7000-8000-000000000000"
WHY = ("--reason", "why")
COMMANDS = [
    ["list"], ["migrate"], ["audit"], ["show", SAGA], ["show", "t[one]"], ["watch", SAGA], ["run", SAGA], ["explain", SAGA],
    ["start", "t", "steps.echo"], ["start", "t", "steps.echo", "--wait"], ["wait", SAGA, "--timeout", "0"],
    ["cancel", SAGA, *WHY], ["hold", SAGA, *WHY], ["release", SAGA, *WHY], ["retry", SAGA, *WHY], ["skip", SAGA, *WHY],
    ["resolve", SAGA, "--absent", *WHY], ["ring", SAGA], ["definitions"],
]  # fmt: skip


@pytest.mark.parametrize(
    ("url", "at"),
    [
        (f"postgresql://ann:{SECRET}@127.0.0.1:1/sagas", "127.0.0.1:1"),
        (f"postgresql+psycopg://ann:{SECRET}@nohost.invalid/sagas", "nohost.invalid:5432"),
    ],
)
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_database_that_is_away_is_told_without_its_password(
    commands: Commands, command: list[str], url: str, at: str
) -> None:
    result = commands(*command, SAGAWORKER_DATABASE_URL=url)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.count("\n") == 2
    assert result.stderr.startswith(f"error: database at {at} must be reachable, got: ")
    assert result.stderr.endswith("start it, or set SAGAWORKER_DATABASE_URL\n")
    assert SECRET not in result.output


@pytest.mark.parametrize(
    ("part", "problem"), [("password", "password authentication failed"), ("path", "does not exist")]
)
def test_a_database_that_refuses_us_is_told_in_its_words(
    commands: Commands, database_url: str, part: str, problem: str
) -> None:
    url = urlsplit(database_url)
    if part == "path":
        wrong = url._replace(path="/no_such_database").geturl()
    elif url.password is None:
        pytest.skip("the given server asks no password")
    else:
        wrong = database_url.replace(url.password, SECRET)
    result = commands("list", SAGAWORKER_DATABASE_URL=wrong)
    assert result.exit_code == 1
    assert "must let us in, got: " in result.stderr
    assert problem in result.stderr
    assert result.stderr.endswith("check user, password and database name in SAGAWORKER_DATABASE_URL\n")
    assert SECRET not in result.output


def test_a_server_that_is_starting_is_not_told_to_be_given_another_password(database_url: str) -> None:
    starting = psycopg.OperationalError("connection failed: FATAL:  the database system is starting up")
    assert "must be reachable, got: the database system is starting up" in str(database_trouble(starting, database_url))


FULL = """
    CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
      $$ BEGIN RAISE 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$;
    CREATE TRIGGER full_disk BEFORE INSERT ON saga_runs EXECUTE FUNCTION full_disk();
"""


def test_a_database_whose_disk_is_full_is_not_told_to_be_started(commands: Commands, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(FULL)
    result = commands("start", "booking", "steps.echo")
    assert result.exit_code == 1
    assert "must have disk and memory left, got: could not extend file: No space left" in result.stderr
    assert "start it" not in result.stderr


@pytest.mark.parametrize(
    "url", [f"postgresql://ann:{SECRET}@db:port/sagas", f"sqlite://{SECRET}", f"nonsense {SECRET}"]
)
def test_a_url_that_is_none_is_refused_without_being_repeated(commands: Commands, url: str) -> None:
    result = commands("list", SAGAWORKER_DATABASE_URL=url)
    assert result.exit_code == 1
    assert "SAGAWORKER_DATABASE_URL must" in result.stderr
    assert SECRET not in result.output


def test_without_any_ledger_the_commands_say_how_to_get_one(nowhere: Commands) -> None:
    result = nowhere("list")
    assert result.exit_code == 1
    assert "SAGAWORKER_DATABASE_URL must be set" in result.stderr
    assert "sagaworker up" in result.stderr


def test_an_unknown_setting_is_refused_with_the_one_meant(commands: Commands) -> None:
    result = commands("list", SAGAWORKER_DATABSE_URL="x")
    assert result.exit_code == 1
    assert "did you mean SAGAWORKER_DATABASE_URL?" in result.stderr


@pytest.mark.parametrize("url", [f"redis://:{SECRET}@127.0.0.1:1/0", f"amqp://ann:{SECRET}@127.0.0.1:1//"])
def test_a_broker_that_is_away_is_told_without_its_password(url: str) -> None:
    with pytest.raises(Unreachable, match=r"broker at 127\.0\.0\.1:1 must be reachable, got: .*refused") as refused:
        check_broker(url)
    assert SECRET not in str(refused.value)


def test_a_saga_is_stored_though_its_broker_is_away_and_a_note_says_so(commands: Commands) -> None:
    result = commands("start", "hello", "steps.echo", SAGAWORKER_BROKER_URL=f"redis://:{SECRET}@127.0.0.1:1/0")
    assert result.exit_code == 0
    assert result.stderr.startswith("note: doorbells not rung: 1; the sweep will ring them")
    assert SECRET not in result.output
    assert len(commands.json("list")) == 1


@pytest.mark.parametrize("command", ["demo", "bench"])
def test_what_needs_the_checkout_is_refused_elsewhere(
    nowhere: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    installed = tmp_path / "site-packages" / "sagaworker"
    installed.mkdir(parents=True)
    shutil.copy(str(sagaworker.__file__), installed / "__init__.py")
    monkeypatch.setattr(sagaworker, "__file__", str(installed / "__init__.py"))
    result = nowhere(command)
    assert result.exit_code == 1
    assert f"sagaworker {command} must run from the project's checkout" in result.stderr


@pytest.fixture
def away(postgres: EmbeddedPostgres, tmp_path: Path) -> Iterator[tuple[Commands, str, SagaRun]]:
    """Commands on a ledger with a saga that is over, its URL, and the saga; the test stops the server."""
    server = DatabaseServer(postgres.url)
    name = server.create()
    url = server.url_of(name)
    migrate(url)
    with Engine.from_env(database_url=url, step_packages="steps") as engine:
        run = engine.run(engine.start("t", ["steps.echo"], key="one").id)
    yield (
        Commands({"SAGAWORKER_DATABASE_URL": url, "SAGAWORKER_BROKER_URL": None, "SAGAWORKER_HOME": str(tmp_path)}),
        url,
        run,
    )
    postgres.start()
    server.drop(name)


@pytest.mark.parametrize("is_short", [False, True])
def test_wait_waits_for_a_database_that_is_away_at_its_start(
    away: tuple[Commands, str, SagaRun], postgres: EmbeddedPostgres, is_short: bool
) -> None:
    commands, url, run = away
    postgres.stop()
    back = threading.Timer(1.0, postgres.start)
    back.start()
    try:
        result = commands("wait", run.label if is_short else run.id, "--json")
    finally:
        back.join()
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["status"] == "completed"
    assert result.stderr.startswith(f"note: database at {where(url)} is away, and waited for: ")
    assert result.stderr.count("\n") == 1


def test_wait_for_a_database_that_stays_away_ends_with_its_time(commands: Commands) -> None:
    result = commands(
        "wait", SAGA, "--timeout", "0.5", SAGAWORKER_DATABASE_URL=f"postgresql://u:{SECRET}@127.0.0.1:1/d"
    )
    assert result.exit_code == 1
    assert "error: database at 127.0.0.1:1 must be reachable, got: " in result.stderr
    assert SECRET not in result.output


def test_wait_does_not_wait_for_a_database_that_refuses_us(commands: Commands, database_url: str) -> None:
    wrong = urlsplit(database_url)._replace(path="/no_such_database").geturl()
    result = commands("wait", SAGA, SAGAWORKER_DATABASE_URL=wrong)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: database at ")
    assert "must let us in" in result.stderr


def test_a_command_that_meets_no_database_prints_no_traceback(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("SAGAWORKER_")}
    env |= {"SAGAWORKER_DATABASE_URL": f"postgresql://u:{SECRET}@127.0.0.1:1/d", "SAGAWORKER_HOME": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-m", "sagaworker", "wait", SAGA, "--timeout", "0"], env=env, check=False,
        cwd=Path(__file__).parents[2], capture_output=True, text=True,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 2)
    assert ended.stderr.startswith("error: database at 127.0.0.1:1 must be reachable, got: ")
