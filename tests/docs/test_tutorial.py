"""The tutorial's commands, run in an empty folder, print what the page says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, write_files
from tests.docs.terminal import commands, lasting
from tests.waiting import wait_until

TUTORIAL = ROOT / "docs" / "tutorial.md"
UP = "sagaworker up"


@pytest.fixture
def env() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SAGAWORKER_")}
    return kept | {"PATH": f"{Path(sys.executable).parent}:{kept['PATH']}", "PYTHONPATH": str(ROOT)}


def test_the_tutorial_from_its_first_step_to_the_journal_of_what_was_undone(
    open_folder: Path, env: dict[str, str]
) -> None:
    write_files(TUTORIAL, open_folder)
    first, second = (
        [command for command in commands(TUTORIAL) if command.line.startswith("export")],
        [command for command in commands(TUTORIAL) if not command.line.startswith(("export", UP))],
    )
    assert [command.line for command in commands(TUTORIAL)].count(UP) == 1
    for command in first:
        name, _, value = command.line.removeprefix("export ").partition("=")
        env[name] = value
    log = open_folder / "up.log"
    with log.open("wb") as output:
        up = subprocess.Popen([*UP.split()], cwd=open_folder, env=env, stdout=output, stderr=output)
    try:
        wait_until(lambda: "sagaworker is up" in log.read_text("utf-8"), what="it to be up", timeout=60)
        printed = [
            (command.line, subprocess.run(
                command.line, shell=True, cwd=open_folder, env=env, text=True, timeout=60, check=False,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            ).stdout)
            for command in second
        ]  # fmt: skip
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(timeout=60)
    assert [(line, lasting(output)) for line, output in printed] == [
        (command.line, lasting(command.output)) for command in second
    ]
