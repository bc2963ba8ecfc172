"""What a step or a person wrote is seen on the terminal, and never obeyed by it."""

from __future__ import annotations

import json
import re

import pytest

from tests.cli.conftest import Commands

EVIL = "a\x1b]0;owned\x07b\x1b[31mc\x9b2Jd\u202ee\rf"
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]")


@pytest.fixture
def evil(commands: Commands) -> str:
    """A saga whose step's error is full of escapes."""
    fail = json.dumps({"step": "steps.fail", "params": {"message": EVIL}})
    id = commands.json("start", "hello", "steps.echo", fail)["id"]
    refused = commands("run", id)
    assert refused.exit_code == 1
    assert not OBEYED.search(refused.output)
    return str(id)


@pytest.mark.parametrize("command", ["show", "show --journal", "show --undo", "explain", "watch", "list", "wait"])
def test_what_a_step_wrote_is_shown_without_being_obeyed(commands: Commands, evil: str, command: str) -> None:
    name, *options = command.split()
    shown = commands(name, *([] if name == "list" else [evil]), *options)
    assert not OBEYED.search(shown.output)
    if command in ("show", "show --journal", "wait", "explain"):
        assert "a␛]0;owned" in shown.output
    assert not OBEYED.search(commands(name, *([] if name == "list" else [evil]), *options, "--json").output)


def test_a_colour_of_ours_stays_and_one_of_theirs_does_not(commands: Commands, evil: str) -> None:
    shown = commands("show", evil, FORCE_COLOR="1").stdout
    assert "\x1b[1;35m" in shown or "\x1b[35m" in shown
    assert "\x1b]0;" not in shown
    assert "\x9b" not in shown


def test_a_reason_is_one_line_whatever_is_in_it(commands: Commands) -> None:
    id = commands.json("start", "hello", "steps.echo")["id"]
    commands("cancel", id, "--reason", f"{EVIL}\nerror: all is lost")
    for name in ("show", "explain", "wait"):
        shown = commands(name, id)
        assert not OBEYED.search(shown.output)
        assert not any(line.startswith("error: all is lost") for line in shown.output.splitlines())
    assert "␊error: all is lost" in commands("show", id).stdout.replace("\n", " ")


def test_a_held_saga_tells_its_reason_without_obeying_it(commands: Commands) -> None:
    id = commands.json("start", "hello", "steps.echo")["id"]
    held = commands("hold", id, "--reason", EVIL, "--who", EVIL)
    assert not OBEYED.search(held.output + commands("explain", id).output + commands("show", id, "--journal").output)
