"""What a shell, a file system or a ledger of another version hands to the commands is refused in one sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.cli.conftest import Commands

ROOT = Path(__file__).parents[2]
SAGAWORKER = [sys.executable, "-c", "from sagaworker.cli import main; main()"]
NO_TEXT = b"\xff".decode(errors="surrogateescape")
DEEP = '{"a":' * 100_000
NOWHERE = "01900000-0000-7000-8000-000000000000"


def called(*arguments: str, cwd: Path = ROOT, stdout: str = "", **env: str) -> tuple[int, str, str]:
    """Status, output and errors of a process of its own, whose output may go to a file."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SAGAWORKER_")}
    with Path(stdout or os.devnull).open("w") as file:
        done = subprocess.run(
            [*SAGAWORKER, *arguments], env={**kept, "PYTHONPATH": str(ROOT), **env}, cwd=cwd, check=False, text=True,
            stdout=file if stdout else subprocess.PIPE, stderr=subprocess.PIPE, timeout=60,
        )  # fmt: skip
    return done.returncode, done.stdout or "", done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", f"kind{NO_TEXT}[k]"],
        ["list", "--key", NO_TEXT],
        ["list", "--kind", NO_TEXT],
        ["list", f"--actor={NO_TEXT}"],
        ["hold", NOWHERE, "--reason", NO_TEXT],
        ["cancel", NOWHERE, "--reason", NO_TEXT],
        ["start", NO_TEXT, "steps.echo"],
    ],
)
def test_an_argument_that_is_no_text_is_refused(commands: Commands, arguments: list[str]) -> None:
    result = commands(*arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: argument ")
    assert "must be text" in result.stderr
    assert r"\udcff" in result.stderr


@pytest.mark.parametrize(
    "arguments", [["--input-json", DEEP], ["--input-json", "@deep.json"], ["--input", "a=" + "[" * 100_000], [DEEP]]
)
def test_json_that_is_nested_too_deeply_is_refused(
    commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    (tmp_path / "deep.json").write_text(DEEP)
    monkeypatch.chdir(tmp_path)
    result = commands("start", "hello", "steps.echo", *arguments)
    assert result.exit_code == 1
    assert "must be JSON that is nested less deeply" in result.stderr
    assert commands.json("list") == []


def test_a_revision_that_nobody_knows_is_refused_with_those_known(commands: Commands) -> None:
    result = commands("migrate", "--to", "nosuch", "--yes")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: revision 'nosuch' must be one that this sagaworker knows")
    assert "base, 0001, 0002" in result.stderr


@pytest.mark.parametrize("arguments", [["list"], ["migrate"], ["migrate", "--to", "base", "--yes"]])
def test_a_ledger_that_a_newer_sagaworker_migrated_is_left_alone(
    commands: Commands, database_url: str, arguments: list[str]
) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE sagaworker_version SET version_num = '9999'")
    result = commands(*arguments)
    assert result.exit_code == 1
    assert "got 9999 which this sagaworker does not know" in result.stderr
    assert result.stderr.endswith("upgrade sagaworker\n")


@pytest.mark.parametrize("command", ["list", "up"])
@pytest.mark.parametrize("home", ["/etc/passwd", "/proc/nobody/makes/this"])
def test_a_home_that_cannot_be_one_is_refused(nowhere: Commands, command: str, home: str) -> None:
    if command == "list" and home.startswith("/proc"):
        pytest.skip("where nothing is, no `up` runs")
    result = nowhere(command, SAGAWORKER_HOME=home)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: folder {home} must be one that `sagaworker up` can use, got: ")
    assert result.stderr.endswith("choose another one: SAGAWORKER_HOME\n")


@pytest.mark.parametrize("command", [["list"], ["up"]])
def test_a_broker_url_whose_port_is_no_number_is_refused(commands: Commands, command: list[str]) -> None:
    result = commands(*command, SAGAWORKER_BROKER_URL="redis://:s3cr3t@db:port/0")
    assert result.exit_code == 1
    assert "SAGAWORKER_BROKER_URL must have a number from 0 to 65535 as its port" in result.stderr
    assert "s3cr3t" not in result.output


def test_several_brokers_are_no_wrong_port(commands: Commands) -> None:
    assert commands("list", SAGAWORKER_BROKER_URL="sentinel://a:26379;sentinel://b:26379").exit_code == 0


@pytest.mark.parametrize("arguments", [["steps"], ["steps", "--json"]])
def test_an_output_that_takes_nothing_is_told(arguments: list[str]) -> None:
    status, _, errors = called(*arguments, stdout="/dev/full")
    assert (status, errors) == (1, "error: the output must be usable by this command, got: No space left on device\n")


def test_a_working_folder_that_was_deleted_is_told(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f"rmdir {gone}; exec {sys.executable} -c 'from sagaworker.cli import main; main()' steps"
    done = subprocess.run(
        ["/bin/sh", "-c", script], cwd=gone, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error: this command cannot run: the working folder was deleted")


def test_a_terminal_that_knows_ascii_only_is_shown_what_it_can(commands: Commands, database_url: str) -> None:
    here = {"SAGAWORKER_DATABASE_URL": database_url, "PYTHONIOENCODING": "ascii"}
    key = "schl\u00fcssel"
    status, output, errors = called("start", "hello", "steps.echo", "--key", key, "--json", **here)
    assert (status, "schl\\u00fcssel" in output) == (0, True), errors
    commands("run", f"hello[{key}]")
    for arguments in (["show", f"hello[{key}]"], ["list"]):
        status, output, errors = called(*arguments, **here)
        assert status == 0, errors
        assert "hello[schl?s" in output
