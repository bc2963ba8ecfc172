from __future__ import annotations

import pytest

from sagaworker.catalog.registry import Registry
from sagaworker.engine import Engine
from sagaworker.settings import Settings
from sagaworker.starts.requests import Requests
from tests.attacks import odd_steps


@pytest.fixture
def settings(database_url):
    return Settings.from_env(
        {},
        database_url=database_url,
        step_packages=("steps", "tests.attacks", "tests.episodes"),
        lease=30.0,
        sweep_interval=0.2,
        step_grace=0.2,
    )


@pytest.fixture
def requests():
    """What `start` refuses, it refuses here, before it stores anything."""
    settings = Settings.from_env({}, step_packages=("steps", "tests.attacks"))
    return Requests(settings, Registry(settings))


@pytest.fixture
def engine(settings):
    odd_steps.EFFECTS.clear()
    with Engine(settings) as engine:
        yield engine
        assert engine.audit() == []
