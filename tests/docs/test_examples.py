"""The examples in docstrings are so."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import sagaworker

MODULES = [module.name for module in pkgutil.walk_packages(sagaworker.__path__, "sagaworker.")]


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith("__main__")])
def test_the_examples_of_a_module_are_so(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_examples():
    tried = [doctest.DocTestFinder().find(importlib.import_module(name)) for name in ("sagaworker.domain.retry",)]
    assert any(example.examples for found in tried for example in found)
