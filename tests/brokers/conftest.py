from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.brokers.servers import RabbitMQ
from tests.celery.stage import Stage
from tests.servers import DatabaseServer

_numbers = itertools.count(1)


@pytest.fixture
def vhost(rabbitmq: RabbitMQ) -> str:
    """The URL of a virtual host of RabbitMQ for this test alone."""
    return rabbitmq.virtual_host(f"test{next(_numbers)}")


@pytest.fixture
def stages(database_server: DatabaseServer, template_database: str, tmp_path: Path) -> Iterator[Stages]:
    """Makes ledgers with a broker each, and ends what runs on them."""
    made = Stages(database_server, template_database, tmp_path)
    yield made
    made.close()


class Stages:
    """`stages(broker_url, **settings)` is a Stage on a database of its own; `twin=` one that shares another's."""

    def __init__(self, server: DatabaseServer, template: str, folder: Path) -> None:
        self._server = server
        self._template = template
        self._folder = folder
        self._made: list[tuple[Stage, str]] = []

    def __call__(self, broker_url: str, **settings: object) -> Stage:
        name = self._server.create(template=self._template)
        folder = self._folder / name
        folder.mkdir()
        stage = Stage(folder, self._server.url_of(name), broker_url, **settings)
        self._made.append((stage, name))
        return stage

    def close(self) -> None:
        for stage, name in self._made:
            stage.close()
            self._server.drop(name)
