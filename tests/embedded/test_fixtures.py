"""The fixtures that every other test stands on: a database and a broker of its own for each."""

from __future__ import annotations

import psycopg
import pytest
import redis

from sagaworker.embedded import EmbeddedValkey
from tests.servers import empty_broker

_seen: set[str] = set()


@pytest.mark.parametrize("_round", range(3))
def test_each_test_has_a_migrated_database_of_its_own(database_url: str, _round: int) -> None:
    assert database_url not in _seen
    _seen.add(database_url)
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT count(*) FROM saga_runs").fetchone() == (0,)
        connection.execute("CREATE TABLE mine ()")


def test_an_empty_database_has_no_table(empty_database_url: str) -> None:
    with psycopg.connect(empty_database_url) as connection:
        found = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
    assert found == (0,)


@pytest.mark.parametrize("_round", range(3))
def test_each_test_has_an_empty_broker_of_its_own(broker_url: str, _round: int) -> None:
    assert broker_url not in _seen
    _seen.add(broker_url)
    with redis.Redis.from_url(broker_url) as broker:
        assert broker.dbsize() == 0
        broker.set("mine", "yes")


def test_a_broker_database_with_something_in_it_is_left_alone(valkey: EmbeddedValkey) -> None:
    with redis.Redis.from_url(valkey.url) as broker:
        broker.set("theirs", "yes")
        with empty_broker(valkey.url, [0, 14]) as url:
            assert url.endswith("/14")
        assert broker.get("theirs") == b"yes"
        with pytest.raises(AssertionError, match="must have an empty database"), empty_broker(valkey.url, [0]):
            pass
        broker.flushdb()
