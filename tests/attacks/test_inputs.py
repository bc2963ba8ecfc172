"""Inputs at and beyond the edge: stored exactly or refused in one sentence."""

import json
import math
import time
from collections import OrderedDict, UserDict
from datetime import UTC, datetime, timedelta, timezone

import pytest

from sagaworker import InvalidInput, KeyConflict
from sagaworker.domain.status import RunStatus
from tests.attacks import odd_steps
from tests.waiting import PATIENCE

S = "tests.attacks.odd_steps:"

VALUES = [
    {"": 1},
    {"a.b": {"c'\"\\": 'd"e'}, "%s %(x)s": "%(saga_id)s", "$1": ":x", "{0}": "{}"},
    {"é": 1, "e\u0301": 2},
    {"\U0001f600": "\u2028\x7f\x01"},
    {"n": 2**1000, "m": -(2**1000)},
    {"z": -0.0, "big": 1e308, "small": 5e-324, "third": 1 / 3, "e22": 1e22, "e-7": 1e-7},
    {"b": [True, False, None, 0, 1, 0.0, 1.0]},
    OrderedDict(a=1),
    UserDict(a=(1, 2)),
]


@pytest.mark.parametrize("inputs", VALUES, ids=range(len(VALUES)))
def test_inputs_come_back_as_equal_values_and_under_the_same_key(engine, monkeypatch, inputs):
    seen = []
    monkeypatch.setattr(odd_steps.Calls, "hook", staticmethod(lambda state: seen.append(state.inputs)))
    run = engine.start("t", [S + "Calls"], inputs=inputs, key="k")
    assert engine.run(run.id).status is RunStatus.COMPLETED
    expected = {name: list(value) if isinstance(value, tuple) else value for name, value in inputs.items()}
    assert json.loads(json.dumps(dict(seen[0])), parse_int=float) == json.loads(json.dumps(expected), parse_int=float)
    assert engine.start("t", [S + "Calls"], inputs=inputs, key="k").id == run.id
    assert engine.start("t", [S + "Calls"], inputs=dict(seen[0]), key="k").id == run.id


def test_true_and_one_are_different_inputs(engine):
    engine.start("t", ["steps.echo"], inputs={"x": True}, key="k")
    with pytest.raises(KeyConflict):
        engine.start("t", ["steps.echo"], inputs={"x": 1}, key="k")


def test_the_limit_of_inputs_holds_to_the_byte(engine, settings):
    most = settings.max_context_bytes - len('{"x":""}')
    run = engine.start("t", ["steps.echo"], inputs={"x": "y" * most})
    assert engine.run(run.id).status is RunStatus.COMPLETED
    with pytest.raises(InvalidInput, match=f"got {settings.max_context_bytes + 1}"):
        engine.start("t", ["steps.echo"], inputs={"x": "y" * (most + 1)})


@pytest.mark.parametrize("size", [0, 1])
def test_the_limits_of_outputs_hold_to_the_byte(engine, settings, monkeypatch, size):
    most = settings.max_output_bytes - len('{"x":""}')
    monkeypatch.setattr(odd_steps.Calls, "hook", staticmethod(lambda state: state.put_output("x", "y" * (most + size))))
    done = engine.run(engine.start("t", [S + "Calls"]).id)
    assert done.status is (RunStatus.ROLLED_BACK if size else RunStatus.COMPLETED)


class LyingLength(UserDict):
    def __len__(self):
        return 10**9


class EvilItems(dict):
    def items(self):
        return iter([("a", 1), ("a", 2), ("b", EvilItems)])


class HalfText(str):
    __slots__ = ()

    def __hash__(self):
        return 7

    def __eq__(self, other):
        return False


def test_a_mapping_that_lies_about_its_length_is_read_by_its_items(engine):
    run = engine.start("t", ["steps.echo"], inputs=LyingLength(a=1))
    assert engine.get(run.id).inputs == {"a": 1}


def test_a_dict_that_gives_other_items_is_checked_as_what_it_gives(engine):
    with pytest.raises(InvalidInput, match=r"inputs\.b must be JSON"):
        engine.start("t", ["steps.echo"], inputs=EvilItems())


def test_names_that_are_text_of_their_own_kind_are_plain_text_in_the_ledger(engine, monkeypatch):
    monkeypatch.setattr(
        odd_steps.Calls,
        "hook",
        staticmethod(lambda state: state.put_output(HalfText("x"), HalfText("y")).put_output(HalfText("x"), 2)),
    )
    done = engine.run(engine.start("t", [S + "Calls"]).id)
    assert (done.status, done.context) == (RunStatus.COMPLETED, {"x": 2})


def test_a_long_name_does_not_make_its_values_slow_to_check(requests):
    begun = time.monotonic()
    with pytest.raises(InvalidInput, match="inputs must be at most"):
        requests.checked("t", ["steps.echo"], inputs={"k" * 5_000_000: [0] * 200_000})
    assert time.monotonic() - begun < PATIENCE  # a copy of the name for each value takes minutes


@pytest.mark.parametrize(
    "given",
    [
        {"deadline": math.nan},
        {"deadline": math.inf},
        {"deadline": 1e300},
        {"deadline": 10**400},
        {"deadline": timedelta.max},
        {"deadline": datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))},
        {"attributes": {"x": "y" * 2_000_000}},
        {"trigger_ref": {"x": "y" * 2_000_000}},
        {"priority": True},
        {"priority": 1.0},
        {"kind": "a\u200bb"},
        {"queue": " "},
        {"queue": "sagas "},
        {"queue": "a\u00a0b"},
    ],
)
def test_an_option_beyond_the_edge_is_refused_in_one_sentence(requests, given):
    with pytest.raises(InvalidInput, match=r"must be"):
        requests.checked(**{"kind": "t", "steps": ["steps.echo"], **given})


def test_params_are_limited_like_inputs(requests):
    with pytest.raises(InvalidInput, match="step list must be at most"):
        requests.checked("t", [{"step": "steps.echo", "params": {"x": "y" * 2_000_000}}])


def test_a_deadline_in_an_odd_zone_is_the_instant_it_names(engine):
    instant = datetime(2100, 1, 1, tzinfo=timezone(timedelta(hours=23, minutes=59, seconds=59.5)))
    assert engine.get(engine.start("t", ["steps.echo"], deadline=instant).id).deadline_at == instant
    assert engine.get(engine.start("t", ["steps.echo"], deadline="2100-01-01T00:00:00Z").id).deadline_at == datetime(
        2100, 1, 1, tzinfo=UTC
    )
