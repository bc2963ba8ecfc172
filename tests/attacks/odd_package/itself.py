from tests.attacks.odd_package import itself  # noqa: F401, PLW0406 - a module that imports itself


def execute(state):
    return state
