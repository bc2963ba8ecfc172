from __future__ import annotations

import pytest

from sagaworker.settings import Settings


@pytest.fixture
def settings(database_url):
    return Settings.from_env(
        {}, database_url=database_url, step_packages=("steps", "tests.episodes"), lease=30.0, step_grace=0.5
    )
