"""Values are refused at the edge with one sentence, or come out as something PostgreSQL can hold."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagaworker import InvalidInput, SagaState
from sagaworker.domain.fold import Fold
from sagaworker.domain.state import ValueLimits, output_text
from sagaworker.domain.values import checked_copy, encoded


def nested(levels):
    value = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (float("nan"), "finite"),
        (float("inf"), "finite"),
        ("a\x00b", "NUL"),
        ("\ud800", "lone surrogate"),
        ({"\x00": 1}, "NUL"),
        ({1: 2}, "text keys"),
        ({1, 2}, "JSON"),
        (b"bytes", "JSON"),
        (object(), "JSON"),
        (nested(70), "64 levels"),
        (2**5000, "bits"),
        ({"deep": {"deeper": float("-inf")}}, "x.deep.deeper"),
    ],
)
def test_what_json_or_postgresql_cannot_hold_is_refused_with_its_path(value, said):
    with pytest.raises(InvalidInput, match=said):
        checked_copy(value, "x")


def test_sixty_four_levels_are_allowed():
    assert checked_copy(nested(64), "x") == nested(64)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_a_checked_copy_is_equal_separate_and_encodable(value):
    try:
        copy = checked_copy(value, "x")
    except InvalidInput:
        return
    assert copy == value
    assert json.loads(encoded(copy)) == copy
    if isinstance(value, (dict, list)) and value:
        assert copy is not value


def state(**given):
    return SagaState(saga_id="s", step_idx=0, step_id="e", attempt=1, idempotency_key="k", fence=1, **given)


def test_put_output_returns_a_new_state_and_leaves_the_old_one_alone():
    before = state()
    value = {"a": [1]}
    after = before.put_output("x", value)
    value["a"].append(2)
    assert before.get_output("x") is None
    assert after.get_output("x") == {"a": [1]}
    after.get_output("x")["a"].append(3)
    assert after.get_output("x") == {"a": [1]}
    assert json.loads(output_text(after)) == {"x": {"a": [1]}}


def test_put_output_under_one_name_twice_keeps_the_later_value():
    assert json.loads(output_text(state().put_output("x", 1).put_output("x", 2))) == {"x": 2}


def test_inputs_are_read_only_and_copied():
    given_state = state(_inputs={"card": {"n": 1}})
    with pytest.raises(TypeError):
        given_state.inputs["card"] = 2
    given_state.get_input("card")["n"] = 9
    assert given_state.get_input("card") == {"n": 1}
    assert given_state.get_input("missing") is None


def test_an_output_beyond_the_limit_is_refused_naming_saga_step_and_limit():
    with pytest.raises(InvalidInput, match=r"step 0 \(e\) of saga s must be at most 100 bytes"):
        state(_limits=ValueLimits(output=100)).put_output("x", "y" * 100)
    with pytest.raises(InvalidInput, match="context of saga s must be at most 100 bytes"):
        state(_limits=ValueLimits(context=100), _context_bytes=95).put_output("x", "yyyyy")


def test_the_fold_shows_each_step_what_was_put_out_before_it_and_later_names_win():
    fold = Fold()
    fold.add(0, {"a": 1, "b": 1})
    fold.add(1, {"a": 2})
    assert dict(fold.below(0)) == {}
    assert dict(fold.below(1)) == {"a": 1, "b": 1}
    assert dict(fold.below(2)) == {"a": 2, "b": 1}


@given(st.lists(st.dictionaries(st.text(max_size=3), st.text(max_size=5), max_size=3), max_size=6))
def test_the_size_of_the_fold_is_the_size_of_its_text_or_a_little_more(outputs):
    fold = Fold()
    whole = {}
    for idx, output in enumerate(outputs):
        fold.add(idx, output)
        whole |= output
    assert len(encoded(whole)) <= fold.size <= len(encoded(whole)) + 1
