"""The target server of the session; its environment is the tests' own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.tenants.killed import Killer, killer
from tests.tenants.sagas import sweep_away
from tests.tenants.target import Target, serve


@pytest.fixture(scope="session")
def target_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with serve(tmp_path_factory.mktemp("target")) as target, pytest.MonkeyPatch.context() as environment:
        for name, value in target.environment.items():
            environment.setenv(name, value)
        yield target


@pytest.fixture
def target(target_server: Target) -> Iterator[Target]:
    """The target server; every tenant a test leaves there is removed."""
    yield target_server
    sweep_away(target_server.admin)


@pytest.fixture(scope="session")
def deadly(target_server: Target) -> Iterator[Killer]:
    with killer() as process:
        yield process
