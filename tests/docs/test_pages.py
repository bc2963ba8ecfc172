"""What the pages say of the code is so: tests named, settings, moves, floors, links."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from datetime import timedelta

import pytest

from sagaworker.catalog import step
from sagaworker.celery import naming
from sagaworker.cli import app
from sagaworker.domain.moves import MOVES
from sagaworker.domain.state import SagaState
from sagaworker.domain.status import RunStatus, StepStatus
from sagaworker.errors import InvalidSetting
from sagaworker.ledger.audit import invariants
from sagaworker.ledger.statements import statement_files
from sagaworker.settings import PREFIX, Settings
from tests.docs.pages import PAGES, ROOT, links, rows
from tests.docs.picture import ARCHITECTURE, BLOCK, arrows, drawn, floors

README = ROOT / "README.md"
GUARANTEES = ROOT / "docs" / "guarantees.md"
GUARANTEES_TESTS = ROOT / "docs" / "guarantees-tests.md"
BESIDES = [f"G{n}" for n in range(1, 10)]
COMMANDS = ROOT / "docs" / "cli.md"
CONTRIBUTING = ROOT / "docs" / "contributing.md"
PROTOCOL = ROOT / "docs" / "protocol.md"
OPERATIONS = ROOT / "docs" / "operations.md"
WRITING_STEPS = ROOT / "docs" / "writing-steps.md"
SQL = {f"{name}.sql" for name in statement_files()}
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def functions_in(path: str) -> set[str]:
    found = ast.walk(ast.parse((ROOT / path).read_text("utf-8")))
    return {node.name for node in found if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}


def shown(value: object) -> str:
    """A setting as its variable would be written."""
    match value:
        case None:
            return "none"
        case timedelta():
            return f"{value.total_seconds():g}"
        case tuple():
            return ",".join(value)
        case _:
            return str(value)


# -- links ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_between_the_pages_leads_somewhere(page):
    missing = [link for link in links(page) if not (page.parent / link.partition("#")[0]).exists()]
    assert missing == []


def test_every_page_can_be_reached_from_the_readme():
    reached = {README}
    waiting = [README]
    while waiting:
        page = waiting.pop()
        for link in links(page):
            target = (page.parent / link.partition("#")[0]).resolve()
            if target.suffix == ".md" and target not in reached:
                reached.add(target)
                waiting.append(target)
    assert [page.name for page in PAGES if page not in reached] == []


# -- guarantees ---------------------------------------------------------------------------------------------------------


def test_every_row_of_the_failure_matrix_has_its_tests_and_each_of_them_exists():
    matrix = GUARANTEES.read_text("utf-8").split("## Failure matrix")[1].splitlines()
    table = [line for line in matrix if line.startswith("| ") and not line.startswith("| |")]
    found = [re.match(r"\| \[(\w+)\]\(guarantees-tests\.md#(\w+)\) \| .+ \| .+ \|$", line) for line in table]
    assert len(found) > 90
    assert [line for line, row in zip(table, found, strict=True) if row is None or row[2] != row[1].lower()] == []
    sections = GUARANTEES_TESTS.read_text("utf-8").split("\n### ")[1:]
    shown_by = {name: TEST.findall(tests) for name, _, tests in (section.partition("\n") for section in sections)}
    assert len(shown_by) == len(sections), "a row has two sections"
    named = [row[1] for row in found if row is not None]
    assert [name for name in shown_by if name not in (*BESIDES, "All of them")] == named
    assert [name for name, tests in shown_by.items() if not tests] == []
    lines = GUARANTEES_TESTS.read_text("utf-8").splitlines()
    assert [line for line in lines if line.startswith("- ") and not TEST.fullmatch(line[2:])] == []
    missing = [
        (name, test) for name, tests in shown_by.items() for path, test in tests if test not in functions_in(path)
    ]
    assert missing == []


def test_all_nine_guarantees_are_stated():
    assert re.findall(r"^\*\*(G\d)\. ", GUARANTEES.read_text("utf-8"), re.MULTILINE) == BESIDES


# -- protocol -------------------------------------------------------------------------------------------------------------


def test_the_protocol_explains_every_status_move_and_invariant_and_no_other():
    def explained(column: str, page_text: str = "") -> set[str]:
        cells = [cell for cell, *_ in rows(PROTOCOL, column, after=page_text)]
        return {name for cell in cells for name in re.findall(r"\w+", cell)}

    assert explained("status", "`saga_runs.status`") == set(RunStatus)
    assert explained("status", "`saga_step_results.status`") == set(StepStatus)
    assert explained("move") == set(MOVES)
    assert explained("number") == {str(one.number) for one in invariants()}


def test_every_rule_that_a_comment_cites_is_in_the_protocol():
    stated = re.findall(r"^\*\*Rule (\d+)\.", PROTOCOL.read_text("utf-8"), re.MULTILINE)
    assert stated == [str(n) for n in range(1, len(stated) + 1)]
    sources = [path for path in (ROOT / "sagaworker").rglob("*") if path.suffix in (".py", ".sql")]
    cited = {number for path in sources for number in re.findall(r"rule (\d+)", path.read_text("utf-8"))}
    assert cited
    assert cited <= set(stated)


# -- settings and members ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [README, OPERATIONS], ids=lambda page: page.stem)
def test_the_settings_of_a_page_are_those_of_the_code(page):
    said = {name.strip("`"): default for name, default, *_ in rows(page, "variable")}
    assert said == {PREFIX + one.name.upper(): shown(one.default) for one in fields(Settings)}


def test_the_members_of_writing_steps_are_those_the_code_reads():
    source = (ROOT / "sagaworker" / "catalog" / "step.py").read_text("utf-8")
    read = set(re.findall(r'_(?:member|choice)\(owner, path, "(\w+)"', source))
    assert {name.strip("`") for name, *_ in rows(WRITING_STEPS, "member")} == read
    assert step.__file__ == str(ROOT / "sagaworker" / "catalog" / "step.py")


def test_what_writing_steps_says_a_step_sees_is_what_a_state_has():
    text = WRITING_STEPS.read_text("utf-8").split("## What a step sees")[1].split("## Idempotency")[0]
    said = {name for cell in re.findall(r"^\| (`.+?) \|", text, re.MULTILINE) for name in re.findall(r"`(\w+)", cell)}
    assert said == {name for name in (*dir(SagaState), *SagaState.__dataclass_fields__) if not name.startswith("_")}


@pytest.mark.parametrize("name", [PREFIX + one.name.upper() for one in fields(Settings)])
def test_every_setting_can_be_given_as_a_variable(name):
    try:
        Settings.from_env({name: "?"})
    except InvalidSetting as refused:
        assert "is not a setting" not in str(refused)


# -- commands and contributions -------------------------------------------------------------------------------------------


def test_the_commands_of_the_page_are_those_there_are():
    said = [name for cell, _ in rows(COMMANDS, "command") for name in re.findall(r"`(\w+)", cell)]
    assert sorted(said) == sorted(app.commands)


def test_the_files_that_contributing_names_are_there_unless_they_are_new():
    text = CONTRIBUTING.read_text("utf-8")
    named = re.findall(r"`([\w./]+/[\w./]+\.\w+)`( \(new\))?", text)
    assert len(named) > 30
    assert [path for path, is_new in named if not is_new and not (ROOT / path).is_file()] == []
    assert [path for path, is_new in named if is_new and (ROOT / path).exists()] == []


# -- architecture ---------------------------------------------------------------------------------------------------------


def test_the_picture_is_the_one_that_the_code_draws():
    block = BLOCK.search(ARCHITECTURE.read_text("utf-8"))
    assert block, "no picture in docs/architecture.md"
    assert block[0] == drawn(), "draw it anew: python -m tests.docs.picture"


def test_every_import_in_the_picture_goes_downward():
    floor_of = {room: number for number, floor in enumerate(floors()) for room in floor}
    assert [(room, other) for room, other in arrows() if floor_of[room] >= floor_of[other]] == []
    assert len(arrows()) > 15


def test_the_table_of_moves_names_every_file_and_no_other():
    named = {name for cell, _ in rows(ARCHITECTURE, "file") for name in re.findall(r"`(\w+)\.sql`", cell)}
    assert named == {name.removesuffix(".sql") for name in SQL}


def test_every_sql_file_and_task_that_a_page_names_exists():
    tasks = {value for value in vars(naming).values() if isinstance(value, str) and value.startswith("sagaworker.")}
    for page in PAGES:
        text = page.read_text("utf-8")
        for name in re.findall(r"`(\w+\.sql)`", text):
            assert name in SQL, f"{name} in {page.name}"
        for name in re.findall(r'[`"](sagaworker\.\w+_(?:sagas?|orphans|due|results))[`("]', text):
            assert name in tasks, f"{name} in {page.name}"
