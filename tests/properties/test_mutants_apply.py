"""The mutants' patches fit the code as it is, so that `make mutants` says something; quick, without running them."""

import shutil

import pytest

from mutants.__main__ import ROOT, patched
from mutants.catalogue import MUTANTS, PATCHES
from mutants.verdict import judged
from tests.model.protocol import MUTANTS as MODELLED


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tree") / "sagaworker"
    shutil.copytree(ROOT / "sagaworker", folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder.parent


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_patch_applies(tree, mutant):
    assert patched(tree, mutant, dry=True) == ""


def test_every_patch_has_a_mutant_and_every_mutant_without_durations_is_in_the_model_too():
    assert {file.stem for file in PATCHES.iterdir()} == {mutant.name for mutant in MUTANTS}
    assert {mutant.name for mutant in MUTANTS if not mutant.is_timed} <= set(MODELLED)


@pytest.mark.parametrize(
    ("message", "is_killed"),
    [
        ("AssertionError: effects left: [0]", True),
        ("failed on teardown with AssertionError: stuck", True),
        ("AssertionError: the walk of a worker raised TypeError(missing 1 argument)", False),
        ("AttributeError: no such thing", False),
        ("failed on setup with AssertionError: no server", False),
    ],
)
def test_only_an_assertion_about_what_the_code_does_kills_a_mutant(tmp_path, message, is_killed):
    report = tmp_path / "report.xml"
    report.write_text(f'<testsuite><testcase name="t"><failure message="{message}"/></testcase></testsuite>')
    assert judged(report, 1, is_late=False).is_killed is is_killed
