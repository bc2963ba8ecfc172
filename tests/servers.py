"""Databases and broker numbers for single tests, on whichever servers the session uses."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import psycopg
import redis
from psycopg import sql


@dataclass(frozen=True)
class DatabaseServer:
    """A server on which tests make databases of their own; `url` names any database of it."""

    url: str = field(repr=False)

    def create(self, *, template: str = "template0") -> str:
        """Make a database, a copy of `template`; returns its name."""
        name = f"sagaworker_test_{secrets.token_hex(6)}"
        self._run(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template)))
        return name

    def drop(self, name: str) -> None:
        """Remove it, ending the connections that are left."""
        self._run(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def url_of(self, name: str) -> str:
        return urlsplit(self.url)._replace(path=f"/{name}").geturl()

    def _run(self, statement: sql.Composed) -> None:
        # A connection for each: the server may have been killed by the test between two.
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)


@contextmanager
def empty_broker(server: str, numbers: Iterable[int]) -> Iterator[str]:
    """The URL of the first of these databases of the broker that is empty, emptied after use.

    Never one in which something was: that is somebody's, or of a test that still runs.
    """
    for number in numbers:
        url = urlsplit(server)._replace(path=f"/{number}").geturl()
        with redis.Redis.from_url(url) as client:
            if client.dbsize() == 0:
                yield url
                client.flushdb()
                return
    raise AssertionError("the broker must have an empty database for a test, got none\nempty one from 1 to 15")
