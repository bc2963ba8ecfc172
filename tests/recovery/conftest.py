from __future__ import annotations

import pytest

from sagaworker.engine import Engine
from sagaworker.settings import Settings


@pytest.fixture
def rung():
    return []


@pytest.fixture
def engine(database_url, rung):
    settings = Settings.from_env(
        {},
        database_url=database_url,
        step_packages=("steps", "tests.episodes"),
        lease=30.0,
        sweep_interval=60.0,  # so long that no bell becomes due anew while a test runs
        step_grace=0.5,
    )
    with Engine(settings, ring=lambda bells: rung.extend(bell.saga_id for bell in bells)) as engine:
        yield engine
        assert engine.audit() == []
