"""`show` prints what went in and came out: cut to a line, in full when asked, and without secrets."""

from __future__ import annotations

import json

import pytest

from sagaworker.console.values import looks_secret, masked, shown
from sagaworker.engine import Engine
from tests.cli.conftest import Commands
from tests.holding import advance, claimed

LONG = "x" * 1500


@pytest.mark.parametrize(
    "name",
    ["password", "DB_PASSWORD", "userPassword", "passwd", "secret", "client-secret", "token", "access_token", "apiKey",
     "api_key", "X-Api-Key", "Authorization", "credential", "credentials", "private_key", "Set-Cookie", "pwd"],
)  # fmt: skip
def test_a_name_that_looks_secret_is_known(name: str) -> None:
    assert looks_secret(name)


@pytest.mark.parametrize("name", ["author", "authority", "key", "order_key", "to", "passenger", "compass", ""])
def test_a_name_that_does_not_is_left_alone(name: str) -> None:
    assert not looks_secret(name)


def test_a_secret_is_masked_at_any_depth_and_nothing_else_is_changed() -> None:
    value = {
        "to": "ann",
        "token": None,
        "credentials": {"user": "a", "pin": 1},
        "list": [{"api_key": 7}, ["plain", {"secret": ["a", "b"]}]],
        "headers": [{"name": "Authorization", "value": "Basic eA=="}, {"name": "Accept", "value": "json"}],
        "urls": ["postgresql://ann:hidden@db/sagas", "https://example.org/a:b@c", "https://ann@example.org"],
    }
    before = json.dumps(value)
    assert masked(value) == {
        "to": "ann",
        "token": None,
        "credentials": "***",
        "list": [{"api_key": "***"}, ["plain", {"secret": "***"}]],
        "headers": [{"name": "Authorization", "value": "***"}, {"name": "Accept", "value": "json"}],
        "urls": ["postgresql://ann:***@db/sagas", "https://example.org/a:b@c", "https://ann@example.org"],
    }
    assert json.dumps(value) == before


def test_a_value_is_one_line_of_at_most_so_many_characters() -> None:
    assert len(shown({"a": LONG}, 65)) == 65
    assert shown({"a": "b\nc\x9b"}, None) == '{"a": "b\\nc\ufffd"}'
    assert len(shown({"a": LONG}, None)) == 1509


@pytest.fixture
def saga(engine: Engine) -> str:
    """One with inputs, params, outputs and an actor, cancelled twice in its second step."""
    steps = [
        {"step": "steps.echo", "params": {"to": "ann", "auth_token": "hidden-param"}},
        {"step": "steps.echo", "params": {"n": 2}},
        {"step": "steps.echo", "params": {"last": True}},
    ]
    inputs = {"order": 7, "password": "hidden-input", "text": LONG}
    run = engine.start("pay", steps, inputs=inputs, actor_id="shop-9", recovery_policy="restart")
    hold = claimed(engine, run.id)
    advance(hold, json.dumps({"charge": "ch_7", "secret": "hidden-output"}))
    engine.cancel(run.id, "not wanted", who="ann")
    engine.cancel(run.id, LONG)
    hold.yield_()
    hold.close()
    return run.id


def test_show_prints_a_line_of_each_and_no_secret(commands: Commands, saga: str) -> None:
    lines = commands("show", saga).stdout.splitlines()
    assert "actor   shop-9" in lines
    assert any(line.startswith('inputs  {"') and line.endswith("…") for line in lines)
    cancels = [line for line in lines if line.startswith("cancel  ")]
    assert len(cancels) == 2
    assert cancels[0].startswith("cancel  by ann at 20")
    assert cancels[0].endswith(" UTC: not wanted")
    steps = [line.strip() for line in lines if line.startswith(("     p", "     o"))]
    assert steps == [
        'params  {"to": "ann", "auth_token": "***"}',
        'output  {"charge": "ch_7", "secret": "***"}',
        'params  {"n": 2}',
        'params  {"last": true}',
    ]
    assert [line for line in lines if len(line) > 80 or "hidden" in line] == []


def test_show_in_full_cuts_nothing_and_masks_all_the_same(commands: Commands, saga: str) -> None:
    said = commands("show", saga, "--full").stdout
    assert said.replace("\n", "").count(LONG) == 2
    assert "hidden" not in said
    assert '"password": "***"' in said.replace("\n", "")


def test_show_as_json_has_all_of_it_unmasked(commands: Commands, saga: str) -> None:
    told = commands.json("show", saga)
    assert (told["run"]["inputs"]["password"], told["run"]["inputs"]["text"]) == ("hidden-input", LONG)
    assert told["steps"][0]["output"]["secret"] == "hidden-output"
    assert told["run"]["step_modules"][0]["params"]["auth_token"] == "hidden-param"


def test_what_has_no_values_has_no_line_for_them(commands: Commands) -> None:
    id = commands.json("start", "hello", "steps.echo")["id"]
    said = commands("show", id).stdout
    assert not any(word in said for word in ("inputs", "params", "output", "actor", "cancel"))
