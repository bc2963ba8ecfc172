from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_celery import CeleryTestBroker

from tests.celery.nodes import BrokerContainer, WorkerNode
from tests.celery.stage import Stage
from tests.servers import DatabaseServer, empty_broker


@pytest.fixture(scope="module")
def stage_settings() -> dict[str, float]:
    """Settings that a module wants to be other than the stage's."""
    return {}


@pytest.fixture(scope="module")
def stage(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    database_server: DatabaseServer,
    template_database: str,
    broker_numbers: Iterator[int],
    stage_settings: dict[str, float],
) -> Iterator[Stage]:
    """A migrated database and an empty broker for the tests of one module. Nothing runs on it yet."""
    folder: Path = tmp_path_factory.mktemp("stage")
    server = os.environ.get("SAGAWORKER_BROKER_URL") or request.getfixturevalue("valkey").url
    name = database_server.create(template=template_database)
    with empty_broker(server, itertools.islice(broker_numbers, 15)) as broker_url:
        stage = Stage(folder, database_server.url_of(name), broker_url, **stage_settings)
        try:
            yield stage
        finally:
            stage.close()
    database_server.drop(name)


@pytest.fixture
def celery_broker(stage: Stage) -> CeleryTestBroker:
    return CeleryTestBroker(BrokerContainer(stage.folder, stage.broker_url))


@pytest.fixture
def celery_backend_cluster() -> None:
    """There is no result backend: what a task came to is in the ledger."""


@pytest.fixture(scope="module")
def worker_container(stage: Stage):
    """One prefork worker of two children for a whole module."""
    return stage.worker()


@pytest.fixture
def celery_worker(worker_container, celery_setup_app) -> WorkerNode:
    return WorkerNode(worker_container, celery_setup_app)
