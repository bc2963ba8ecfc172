"""The servers of a test session: SAGAWORKER_DATABASE_URL and SAGAWORKER_BROKER_URL when set, else private ones.

Each test that asks for `database_url` gets its own migrated database, copied from a template in some 40 ms. A test that
asks for `broker_url` gets an empty database of the broker. Existing data in given servers stay untouched.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sagaworker.embedded import EmbeddedPostgres, EmbeddedValkey
from sagaworker.ledger.migrate import migrate
from tests.brokers.servers import RabbitMQ
from tests.house import HousePostgres
from tests.servers import DatabaseServer, empty_broker


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """A folder for the session's servers; as root they run as nobody, who could not enter pytest's own folders."""
    folder = Path(tempfile.mkdtemp(prefix="sagaworker-tests-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres(server_folder: Path) -> Iterator[EmbeddedPostgres]:
    """The session's private PostgreSQL: always ours, so a test may kill the server if it starts it again."""
    # With two-phase commits, which a caller's transaction may use.
    with HousePostgres(server_folder / "postgres", {"max_prepared_transactions": "4"}) as server:
        yield server


@pytest.fixture(scope="session")
def valkey(server_folder: Path) -> Iterator[EmbeddedValkey]:
    """The session's private Valkey: always ours, so a test may kill the server if it starts it again."""
    with EmbeddedValkey(server_folder / "valkey", durable=False) as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq(server_folder: Path) -> Iterator[RabbitMQ]:
    """The session's private RabbitMQ; a test that asks for it is skipped where none is installed."""
    with RabbitMQ(server_folder / "rabbitmq") as server:
        yield server


@pytest.fixture(scope="session")
def database_server(request: pytest.FixtureRequest) -> DatabaseServer:
    """The server on which the databases of the tests are made."""
    given = os.environ.get("SAGAWORKER_DATABASE_URL", "").replace("postgresql+psycopg://", "postgresql://")
    return DatabaseServer(given or request.getfixturevalue("postgres").url)


@pytest.fixture(scope="session")
def template_database(database_server: DatabaseServer) -> Iterator[str]:
    """The name of a migrated, empty database to copy. Nobody connects to it."""
    name = database_server.create()
    try:
        migrate(database_server.url_of(name))
        yield name
    finally:
        database_server.drop(name)


@pytest.fixture
def database_url(database_server: DatabaseServer, template_database: str) -> Iterator[str]:
    """A migrated database for this test alone."""
    name = database_server.create(template=template_database)
    yield database_server.url_of(name)
    database_server.drop(name)


@pytest.fixture
def empty_database_url(database_server: DatabaseServer) -> Iterator[str]:
    """A database without tables for this test alone."""
    name = database_server.create()
    yield database_server.url_of(name)
    database_server.drop(name)


@pytest.fixture(scope="session")
def broker_numbers() -> Iterator[int]:
    """Database numbers of the broker in turn, so that processes left by a test do not disturb the next test.

    The numbers are 1 to 15; where tests run side by side on a given server, this process's share of these.
    """
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return itertools.cycle(range(1 + number, 16, count))


@pytest.fixture
def broker_url(request: pytest.FixtureRequest, broker_numbers: Iterator[int]) -> Iterator[str]:
    """An empty database of the broker for this test alone."""
    server = os.environ.get("SAGAWORKER_BROKER_URL") or request.getfixturevalue("valkey").url
    with empty_broker(server, itertools.islice(broker_numbers, 15)) as url:
        yield url
