"""Step lists are refused whole, with the place of the fault."""

import pytest

from sagaworker import InvalidInput
from sagaworker.domain.steplist import parse, thawed

BAD = [
    ("steps.echo", "must be a list"),
    ([], "between 1 and 1000 steps, got 0"),
    (["steps.echo"] * 1001, "got 1001"),
    (["echo"], "dotted module name"),
    (["../../etc/passwd"], "dotted module name"),
    (["steps.echo\n"], "dotted module name"),
    (["steps.échos"], "dotted module name"),
    ([7], "step 0 must be a dotted name or an object"),
    ([{"id": "x"}], "must have the key step"),
    ([{"step": "steps.echo", "extra": 1}], "must have the key step"),
    ([{"step": "steps.echo", "params": []}], "params of step 0 must be an object"),
    ([{"step": "steps.echo", "params": {"x": float("nan")}}], "finite"),
    ([{"step": "steps.echo", "id": ""}], "id of step 0"),
    ([{"step": "steps.echo", "id": "a"}, {"step": "steps.echo", "id": "a"}], "id of step 1 must be unique"),
    ([{"step": "steps.echo", "id": "a", "depends_on": ["a"]}], "must name ids of earlier steps"),
    ([{"saga": "child"}], "child saga"),
]


@pytest.mark.parametrize(("steps", "said"), BAD)
def test_a_bad_list_is_refused(steps, said):
    with pytest.raises(InvalidInput, match=said):
        parse(steps, most=1000)


def test_entries_survive_freezing():
    entries = parse(["steps.echo", {"step": "steps.a:B", "id": "x", "params": {"n": 1}, "depends_on": []}], most=10)
    assert thawed([entry.frozen for entry in entries]) == entries
