from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator

import pytest

from tests.hosts.host import NO_BROKER, Broker, Host, Project
from tests.servers import DatabaseServer, empty_broker


@pytest.fixture(scope="module", params=["redis", "rabbitmq"])
def broker(request: pytest.FixtureRequest, broker_numbers: Iterator[int]) -> Iterator[Broker]:
    """The broker of one module's shop, with nothing in it."""
    if request.param == "rabbitmq":
        server = request.getfixturevalue("rabbitmq")
        yield Broker(request.param, server.virtual_host(request.module.__name__.rpartition(".")[2]), "rpc://")
        return
    server = os.environ.get("SAGAWORKER_BROKER_URL") or request.getfixturevalue("valkey").url
    with empty_broker(server, itertools.islice(broker_numbers, 15)) as url:
        yield Broker(request.param, url, url)


@pytest.fixture(scope="session")
def migrated(
    tmp_path_factory: pytest.TempPathFactory, database_server: DatabaseServer
) -> Iterator[Callable[[Project, str | None], str]]:
    """Makes databases with a shop's tables and ours, in its schema or in one of our own."""
    templates: dict[tuple[str, str | None], str] = {}

    def make(project: Project, schema: str | None) -> str:
        if (project.app, schema) not in templates:
            name = templates[project.app, schema] = database_server.create()
            folder = tmp_path_factory.mktemp("migrated")
            with Host(project, folder, database_server.url_of(name), NO_BROKER, schema=schema) as host:
                host.migrate()
        return database_server.create(template=templates[project.app, schema])

    yield make
    for name in templates.values():
        database_server.drop(name)


@pytest.fixture(scope="module")
def open_shop(
    tmp_path_factory: pytest.TempPathFactory,
    database_server: DatabaseServer,
    migrated: Callable[[Project, str | None], str],
) -> Iterator[Callable[..., Host]]:
    """Makes shops on databases of their own; nothing runs there yet."""
    made: list[tuple[Host, str]] = []

    def make(project: Project, broker: Broker = NO_BROKER, *, schema: str | None = None) -> Host:
        name = migrated(project, schema)
        host = Host(project, tmp_path_factory.mktemp("shop"), database_server.url_of(name), broker, schema=schema)
        made.append((host, name))
        return host

    yield make
    for host, name in made:
        host.close()
        database_server.drop(name)
