from __future__ import annotations

import pytest

from sagaworker.engine import Engine
from sagaworker.settings import Settings
from tests.episodes import steps


@pytest.fixture
def settings(database_url):
    return Settings.from_env(
        {}, database_url=database_url, step_packages=("steps", "tests.episodes"), lease=30.0, step_grace=0.5
    )


@pytest.fixture
def engine(settings):
    steps.EFFECTS.clear()
    with Engine(settings) as engine:
        yield engine
        assert engine.audit() == []
