"""What each command does and prints, and its exit status."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sagaworker.engine import Engine
from tests.cli.conftest import Commands


def test_a_saga_is_started_walked_and_shown(commands: Commands) -> None:
    started = commands("start", "hello", "steps.echo", "steps.echo", "--key", "ann")
    assert started.exit_code == 0
    assert "hello[ann]" in started.stdout
    assert "pending" in started.stdout
    assert "next sweep" in started.stderr, "without a broker nobody is rung, and the command says so"

    walked = commands("run", "hello[ann]")
    assert walked.exit_code == 0, walked.stderr
    lines = walked.stdout.splitlines()
    assert lines[0].startswith("hello[ann]  completed in ")
    assert sum("completed" in line and "echo" in line for line in lines) == 2
    shown = commands("show", "hello[ann]").stdout.splitlines()
    assert [line for line in shown if "output  {" not in line] == lines


def test_every_line_fits_into_80_columns_and_has_no_colours_in_a_pipe(
    commands: Commands, finished: Callable[..., str]
) -> None:
    fail = '{"step": "steps.fail", "params": {"message": "the card of this customer was declined by the bank, twice"}}'
    long = '{"step": "steps.echo", "id": "an_id_that_is_much_longer_than_any_screen_has_room_for_in_a_column"}'
    id = finished("refund", "steps.echo", long, fail, key="a-key-that-is-longer-than-most-of-them-would-ever-be")
    for arguments in (["list"], ["show", id, "--journal"], ["steps"], ["audit"]):
        shown = commands(*arguments).stdout
        assert "\x1b" not in shown
        assert [line for line in shown.splitlines() if len(line) > 80] == []


def test_a_rolled_back_saga_exits_1_with_its_reason_and_shows_its_undo(commands: Commands) -> None:
    commands("start", "refund", "steps.echo", "steps.fail", "--key", "one")
    walked = commands("run", "refund[one]")
    assert walked.exit_code == 1
    assert walked.stderr == "error: saga refund[one] is rolled_back: step fail failed: this step always fails\n"
    assert "compensated" in walked.stdout
    assert commands("wait", "refund[one]").exit_code == 1
    assert commands("show", "refund[one]").exit_code == 0, "to look is not to fail"


def test_inputs_are_json_where_they_parse_and_text_elsewhere(commands: Commands, tmp_path: Path) -> None:
    file = tmp_path / "inputs.json"
    file.write_text('{"a": 1, "b": {"c": null}}')
    pairs = ["--input", "n=3", "--input", "t=three", "--input", "x=[1", "--input", "e=a=b", "--input", "a=true"]
    run = commands.json("start", "hello", "steps.echo", "--input-json", f"@{file}", *pairs)
    assert run["inputs"] == {"a": True, "b": {"c": None}, "n": 3, "t": "three", "x": "[1", "e": "a=b"}
    assert commands.json("start", "hello", "steps.echo", "--input-json", '{"z": 1}')["inputs"] == {"z": 1}


def test_a_step_may_be_an_object_with_params(commands: Commands, finished: Callable[..., str]) -> None:
    finished("nap", '{"step": "steps.nap", "id": "rest", "params": {"seconds": 0}}')
    assert commands.json("show", "nap[one]")["run"]["step_modules"] == [
        {"step": "steps.nap", "id": "rest", "params": {"seconds": 0}}
    ]
    assert "rest" in commands("show", "nap[one]").stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["start"],
        ["start", "hello", "steps.echo", "--input", "no-value"],
        ["start", "hello", "steps.echo", "--input-json", "[1]"],
        ["start", "hello", "steps.echo", "--input-json", "{"],
        ["start", "hello", "steps.echo", "--input-json", "@/nonexistent"],
        ["start", "hello", "{step"],
        ["start", "hello", "steps.echo", "--priority", "11"],
        ["start", "hello", "steps.echo", "--wait", "--timeout", "-1"],
        ["start", "hello", "steps.echo", "--wait", "--timeout", "nan"],
        ["wait", "hello[one]", "--timeout", "nan"],
        ["list", "--status", "done"],
        ["list", "--limit", "0"],
        ["show"],
        ["nonsense"],
        [],
    ],
)
def test_wrong_usage_exits_2_and_stores_nothing(commands: Commands, arguments: list[str]) -> None:
    result = commands(*arguments)
    assert result.exit_code == 2
    assert "Usage:" in result.stderr
    assert commands.json("list") == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["start", "hello", "steps.ecko"], "did you mean steps.echo?"),
        (["start", "hello", "os.system"], "must be in an allowed package"),
        (["start", "hello", "steps.echo", "--input", "x=NaN"], "inputs"),
        (["show", "xyz"], "saga id must be a uuid, got 'xyz'"),
        (["show", "hello[nobody]"], "saga hello[nobody] cannot be found"),
        (["show", "01900000-0000-7000-8000-000000000000"], "cannot be found: no run has this id"),
    ],
)
def test_a_refusal_exits_1_with_a_sentence(commands: Commands, arguments: list[str], sentence: str) -> None:
    result = commands(*arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert sentence in result.stderr
    assert len(result.stderr.splitlines()) <= 2
    assert result.stdout == ""


def test_a_saga_is_found_by_every_name_that_is_printed(commands: Commands) -> None:
    id = commands.json("start", "hello", "steps.echo")["id"]
    name = f"hello[{id[-6:]}]"
    assert name in commands("list").stdout
    for printed in (id, id[:30], name, f"{name} 1/1 echo"):
        assert commands.json("show", printed)["run"]["id"] == id
    refused = commands("show", "hello[000000]")
    assert refused.exit_code == 1
    assert "no run has this name" in refused.stderr


def test_ring_sends_the_doorbell_now_and_refuses_what_is_over(commands: Commands) -> None:
    id = commands.json("start", "hello", "steps.echo")["id"]
    assert f"hello[{id[-6:]}] was rung" in commands("ring", id).stdout
    commands("cancel", id)
    refused = commands("ring", id)
    assert refused.exit_code == 1
    assert "cannot be rung: it is rolled_back" in refused.stderr


def test_the_same_key_is_the_same_saga_and_other_inputs_are_refused(commands: Commands) -> None:
    first = commands.json("start", "order", "steps.echo", "--key", "42", "--input", "n=1")
    assert commands.json("start", "order", "steps.echo", "--key", "42", "--input", "n=1")["id"] == first["id"]
    refused = commands("start", "order", "steps.echo", "--key", "42", "--input", "n=2")
    assert refused.exit_code == 1
    assert first["id"] in refused.stderr


def test_cancel_answers_for_every_state_of_a_saga(commands: Commands, finished: Callable[..., str]) -> None:
    commands("start", "order", "steps.echo", "--key", "new")
    assert "nothing of it had begun" in commands("cancel", "order[new]", "--reason", "not wanted").stdout
    assert "cancelled: not wanted" in commands("show", "order[new]").stdout
    done = finished("order", "steps.echo", key="done")
    refused = commands("cancel", done)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "must be pending or running to be cancelled, got completed" in refused.stderr
    assert commands.json("cancel", done, status=1)["answer"] == "not_active"


def test_wait_gives_up_after_its_time(commands: Commands) -> None:
    commands("start", "order", "steps.echo", "--key", "new")
    result = commands("wait", "order[new]", "--timeout", "0.05")
    assert result.exit_code == 1
    assert "is not over after 0.05 s: its status is pending" in result.stderr


def test_list_filters_and_pages(commands: Commands, engine: Engine, finished: Callable[..., str]) -> None:
    assert commands("list").stdout == "no sagas\n"
    first, second = finished("a", "steps.echo"), finished("b", "steps.fail")
    assert [run["id"] for run in commands.json("list")] == [second, first]
    assert [run["id"] for run in commands.json("list", "--status", "completed")] == [first]
    assert [run["id"] for run in commands.json("list", "--kind", "b", "--key", "one")] == [second]
    assert [run["id"] for run in commands.json("list", "--limit", "1", "--offset", "1")] == [first]
    assert [run["id"] for run in commands.json("list", "--limit", "1", "--after", second)] == [first]
    assert "b[one]" in commands("list").stdout
    assert commands("list", "--limit", "1").stderr == f"for older ones, the same with: --after {second}\n"
    assert commands("list", "--limit", "3").stderr == ""
    run = engine.start("c", ["steps.echo"], conversation_id="talk")
    assert [run["id"] for run in commands.json("list", "--conversation", "talk")] == [run.id]


def test_watch_in_a_pipe_prints_each_move_once(commands: Commands, finished: Callable[..., str]) -> None:
    id = finished("hello", "steps.echo", "steps.echo")
    lines = commands("watch", id).stdout.splitlines()
    assert [line.split()[4] for line in lines] == ["saga.started", "saga.claimed", "step.completed", "step.completed"]
    moves = [json.loads(line) for line in commands("watch", id, "--json").stdout.splitlines()]
    assert [move["seq"] for move in moves] == [1, 2, 3, 4]


def test_show_as_json_holds_run_steps_episodes_and_journal(commands: Commands, finished: Callable[..., str]) -> None:
    shown = commands.json("show", finished("hello", "steps.echo"))
    assert shown["run"]["status"] == "completed"
    assert shown["steps"][0]["attempts"] == 1
    assert [episode["outcome"] for episode in shown["episodes"]] == ["completed"]
    assert shown["journal"][0]["type"] == "saga.started"


def test_show_of_a_lost_worker_tells_attempts_and_episodes(commands: Commands, engine: Engine) -> None:
    from tests.holding import claimed

    id = engine.start("order", ["steps.echo"], key="lost").id
    assert claimed(engine, id) is not None
    assert "holds it" in commands("show", id).stdout
    assert engine.take_over_dead(engine.owner) == 1
    assert "its worker died" not in commands("list").stdout
    commands("run", id)
    shown = commands("show", id).stdout
    assert "its worker was lost once" in shown
    assert "died" in shown
    assert "✗" in shown


def test_audit_is_silent_on_a_sound_ledger_and_exits_1_on_a_broken_one(
    commands: Commands, engine: Engine, finished: Callable[..., str]
) -> None:
    id = finished("hello", "steps.echo")
    assert commands.json("audit") == []
    assert commands("audit").stdout == "the ledger is sound: no invariant is broken\n"
    part = commands("audit", "--since", "2h").stdout
    assert part == "the ledger is sound: no invariant is broken by sagas that are not over or ended since 2h\n"
    assert "since must be an instant" in commands("audit", "--since", "yesterday").stderr
    with engine.database.checkout() as connection:
        connection.execute("UPDATE saga_step_results SET status = 'compensation_failed' WHERE saga_id = %s", [id])
    broken = commands("audit")
    assert broken.exit_code == 1
    assert id in broken.stdout
    assert "the ledger must be sound, got" in broken.stderr
    for since in ([], ["--since", "1h"]):
        assert {finding["saga_id"] for finding in commands.json("audit", *since, status=1)} == {id}


def test_migrate_makes_the_tables_and_asks_before_it_takes_them(empty_database_url: str, commands: Commands) -> None:
    def on_empty(*arguments: str):
        return commands(*arguments, SAGAWORKER_DATABASE_URL=empty_database_url)

    refused = on_empty("list")
    assert refused.exit_code == 1
    assert refused.stderr.endswith("run: sagaworker migrate\n")
    for _ in range(2):
        assert on_empty("migrate").exit_code == 0
    assert on_empty("list").exit_code == 0
    assert on_empty("migrate", "--to", "base").exit_code == 1, "nobody answered the question"
    assert on_empty("list").exit_code == 0
    assert on_empty("migrate", "--to", "base", "--yes").exit_code == 0
    assert on_empty("list").exit_code == 1


def test_steps_tells_what_is_known_without_a_ledger(nowhere: Commands) -> None:
    shown = nowhere("steps")
    assert shown.exit_code == 0
    assert "steps.tenants.create_role" in shown.stdout
    assert "Put out the saga" in shown.stdout
    echo = next(step for step in nowhere.json("steps") if step["step"] == "steps.echo")
    assert (echo["timeout"], echo["retry"], echo["undo"], echo["problem"]) == (300.0, "once", False, "")
    none = nowhere("steps", SAGAWORKER_STEP_PACKAGES="nowhere_at_all")
    assert none.exit_code == 1
    assert "SAGAWORKER_STEP_PACKAGES" in none.stderr
    none = nowhere("steps", "--json", SAGAWORKER_STEP_PACKAGES="nowhere_at_all")
    assert (none.exit_code, none.stdout) == (1, "[]\n")
    assert "SAGAWORKER_STEP_PACKAGES" in none.stderr


HELPERS = """
import abc
from typing import Protocol

class Proxy:  # as of an application's context, outside one
    def __getattr__(self, name):
        raise RuntimeError("working outside of a context")

class Shape(Protocol):
    def execute(self, state): ...

class Base(abc.ABC):
    @abc.abstractmethod
    def execute(self, state): ...

class Database:
    def __init__(self, dsn): self.dsn = dsn
    def execute(self, sql): ...

class Http:
    def __init__(self, url): self.url = url
    def execute(self, state): return state
"""
MONEY = '''
from decimal import Context
from class_steps_for_cli.helpers import Base, Http, Proxy, Shape

class Charge(Base):
    """Take the money. With care."""
    TIMEOUT = 7
    def execute(self, state): return state

class Amount:
    pass

current = Proxy()
refund = Http("https://pay.example")
rounding = Context()
'''


def test_steps_shows_class_steps_and_objects_and_no_helper(
    nowhere: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "class_steps_for_cli"
    package.mkdir()
    for name, text in {
        "__init__": "",
        "helpers": HELPERS,
        "money": MONEY,
        "plain": "def connect(): ...\ndef probe(): ...",
        "shares": "from class_steps_for_cli.money import refund",
        "misspelled": "def excute(state): ...\ndef compensate(state): ...",
    }.items():
        (package / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    found = json.loads(nowhere("steps", "--json", SAGAWORKER_STEP_PACKAGES=package.name).stdout)
    named = {one["step"].removeprefix(package.name): one for one in found}
    assert [*named] == [".misspelled", ".money:Charge", ".money:refund"]
    charge = named[".money:Charge"]
    assert (charge["doc"], charge["timeout"], charge["problem"]) == ("Take the money.", 7.0, "")
    assert named[".money:refund"]["problem"] == ""
    assert "must have a function execute(state)" in named[".misspelled"]["problem"]


def test_steps_shows_a_broken_module_with_its_reason(
    nowhere: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "broken_steps_for_cli"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "bad.py").write_text("raise RuntimeError('no luck')")
    monkeypatch.syspath_prepend(tmp_path)
    (found,) = json.loads(nowhere("steps", "--json", SAGAWORKER_STEP_PACKAGES=package.name).stdout)
    assert "no luck" in found["problem"]
    assert nowhere("steps", SAGAWORKER_STEP_PACKAGES=package.name).exit_code == 0


@pytest.mark.parametrize(
    "command",
    [["cancel"], ["run"], ["ring"], ["hold", "--reason", "r"], ["release", "--reason", "r"]],
    ids=lambda c: c[0],
)
def test_a_command_moves_no_saga_of_another_environment_by_a_short_name(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setenv("SAGAWORKER_SOURCE_ENV", "staging")
    id = commands.json("start", "order", "steps.echo", "--key", "42")["id"]
    monkeypatch.setenv("SAGAWORKER_SOURCE_ENV", "production")
    refused = commands(command[0], "order[42]", *command[1:])
    assert refused.exit_code == 1
    assert f"give its whole id: {id}" in refused.stderr
    assert commands.json("show", id)["run"]["status"] == "pending"
