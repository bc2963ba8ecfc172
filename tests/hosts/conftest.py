from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator

import pytest

from tests.hosts.host import Broker, Host, Project
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


@pytest.fixture(scope="module")
def open_shop(
    tmp_path_factory: pytest.TempPathFactory, database_server: DatabaseServer, broker: Broker
) -> Iterator[Callable[..., Host]]:
    """Makes shops on databases of their own, migrated; nothing runs there yet."""
    made: list[tuple[Host, str]] = []

    def make(project: Project, *, schema: str | None = None) -> Host:
        name = database_server.create()
        host = Host(project, tmp_path_factory.mktemp("shop"), database_server.url_of(name), broker, schema=schema)
        made.append((host, name))
        host.migrate()
        return host

    yield make
    for host, name in made:
        host.close()
        database_server.drop(name)
