"""The protocol's core, explored exhaustively in small worlds; and each mutant of it is caught in one."""

import pytest

from tests.model.configurations import MUTANTS, SMALL, mutated
from tests.model.explore import explore
from tests.model.protocol import MUTANTS as NAMES


@pytest.mark.parametrize("name", SMALL)
def test_no_state_of_a_small_world_breaks_a_promise_and_an_end_can_be_reached_from_each(name):
    explored = explore(SMALL[name])
    assert explored.breach == "", "\n".join(explored.path)
    assert explored.states > 500, "a world that small shows nothing"


@pytest.mark.parametrize("name", MUTANTS)
def test_the_model_catches_the_mutant(name):
    config, breach = mutated(name)
    assert breach in explore(config).breach


@pytest.mark.parametrize("config", sorted({config for config, _ in MUTANTS.values()}, key=repr))
def test_without_its_mutant_the_same_world_is_sound(config):
    assert explore(config).breach == ""


def test_every_mutant_of_the_protocol_is_in_the_model():
    assert set(MUTANTS) == set(NAMES)
