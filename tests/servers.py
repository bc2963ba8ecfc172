"""Databases and broker numbers for single tests, on the servers of the session."""

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
    """A server on which tests make their own databases; `url` names any database of the server."""

    url: str = field(repr=False)

    def create(self, *, template: str = "template0") -> str:
        """Make a database, a copy of `template`; returns its name."""
        name = f"sagaworker_test_{secrets.token_hex(6)}"
        self._run(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template)))
        return name

    def drop(self, name: str) -> None:
        """Remove the database, and end its remaining connections."""
        self._run(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def url_of(self, name: str) -> str:
        return urlsplit(self.url)._replace(path=f"/{name}").geturl()

    def _run(self, statement: sql.Composed) -> None:
        # A connection for each call: the test may have killed the server between two calls.
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)


@contextmanager
def empty_broker(server: str, numbers: Iterable[int]) -> Iterator[str]:
    """The URL of the first of these broker databases that is empty. It is emptied after use.

    A database with content is never used: it is somebody's, or a running test's.
    """
    for number in numbers:
        url = urlsplit(server)._replace(path=f"/{number}").geturl()
        with redis.Redis.from_url(url) as client:
            if client.dbsize() == 0:
                yield url
                client.flushdb()
                return
    raise AssertionError("the broker must have an empty database for a test, got none\nempty one from 1 to 15")
