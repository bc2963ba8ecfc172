"""The mutants' patches fit the code as it is, so that `make mutants` says something; quick, without running them."""

import shutil

import pytest

from mutants.__main__ import ROOT, patched
from mutants.catalogue import MUTANTS, PATCHES
from tests.model.protocol import MUTANTS as MODELLED


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tree") / "sagaworker"
    shutil.copytree(ROOT / "sagaworker", folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder.parent


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_patch_applies(tree, mutant):
    assert patched(tree, mutant, dry=True) == ""


def test_every_patch_has_a_mutant_and_every_mutant_is_in_the_model_too():
    names = {mutant.name for mutant in MUTANTS}
    assert {file.stem for file in PATCHES.iterdir()} == names
    assert names <= set(MODELLED)
