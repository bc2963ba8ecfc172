"""The programs in the README and in the pages on steps run as written and print what the page says."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sagaworker.ledger.migrate import migrate
from tests.docs.pages import PAGES, ROOT, blocks, programs, write_files
from tests.docs.terminal import commands, lasting

README = ROOT / "README.md"
WRITING_STEPS = ROOT / "docs" / "writing-steps.md"
TESTING = ROOT / "docs" / "testing-your-steps.md"


def run(folder: Path, *argv: str, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, *argv],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if not name.startswith("SAGAWORKER_")} | env,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_readmes_program_runs_on_an_empty_database_after_migrate_and_prints_the_same_twice(
    tmp_path, empty_database_url
):
    write_files(README, tmp_path)
    env = {"SAGAWORKER_DATABASE_URL": empty_database_url}
    run(tmp_path, "-c", "from sagaworker.cli import main; main()", "migrate", **env)
    printed = programs(README)["book.py"]
    assert run(tmp_path, "book.py", **env) == printed
    assert run(tmp_path, "book.py", **env) == printed
    assert [file.name for file in tmp_path.glob("*.held")] == ["12A.held"]


def test_the_readmes_celery_app_has_the_tasks_and_a_schedule(tmp_path):
    write_files(README, tmp_path)
    look = "import app; print('sagaworker.start_saga' in app.app.tasks, sorted(app.app.conf.beat_schedule))"
    assert run(tmp_path, "-c", look) == "True ['sagaworker.sweep_orphans']\n"


@pytest.mark.parametrize("program", programs(WRITING_STEPS))
def test_each_program_of_writing_steps_prints_what_stands_there(tmp_path, empty_database_url, program):
    migrate(empty_database_url)
    write_files(WRITING_STEPS, tmp_path)
    printed = programs(WRITING_STEPS)[program]
    assert printed, "a program without a line of output proves little"
    assert run(tmp_path, program, SAGAWORKER_DATABASE_URL=empty_database_url) == printed


def test_the_tests_of_testing_your_steps_pass_with_the_steps_of_writing_steps(open_folder):
    write_files(WRITING_STEPS, open_folder)
    write_files(TESTING, open_folder)
    (command,) = commands(TESTING)
    assert command.line.startswith("python ")
    printed = run(open_folder, *command.line.split()[1:], PYTHONPATH=str(ROOT))
    assert lasting(printed) == lasting(command.output)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_python_block_is_python(page):
    for block in blocks(page):
        if block.language == "python":
            ast.parse(block.text)
