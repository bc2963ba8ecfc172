"""Read the database URL. No other code reads it."""

from __future__ import annotations

import contextlib
from typing import Any
from urllib.parse import quote, unquote

import psycopg
import sqlalchemy as sa
from psycopg.conninfo import conninfo_to_dict

from sagaworker.errors import InvalidSetting


def parameters_of(database_url: str) -> dict[str, str]:
    """The parameters of a connection for libpq, from any spelling of the URL.

    Several hosts may be written as libpq does (`h1:1,h2:2`) and as SQLAlchemy does (`?host=h1:1&host=h2:2`).

    >>> parameters_of("postgresql://ann@/sagas?host=a:1&host=b:2")["port"]
    '1,2'

    Raises:
        InvalidSetting: libpq cannot read the URL. The message repeats no part of the URL.
    """
    rest = database_url.partition("://")[2]
    body, _, query = rest.partition("?")
    authority, slash, name = body.partition("/")
    if "@" in name:
        # In a password with a slash, the part after the slash would be read as a database name and shown in errors.
        raise InvalidSetting(
            "the database URL must have one @ before its database's name, got another behind it",
            "percent-encode special characters of the password: / is %2F",
        )
    user, at, where = authority.rpartition("@")
    who = ":".join(quote(unquote(part), safe="") for part in user.split(":", 1))
    pairs = [pair for pair in query.split("&") if pair]
    hosts = [unquote(pair.partition("=")[2]) for pair in pairs if pair.startswith("host=")]
    others = [pair.replace(" ", "%20") for pair in pairs if not pair.startswith("host=")]
    found: dict[str, Any] | None = None
    with contextlib.suppress(psycopg.Error):  # libpq's error quotes the URL, so it is not even the context of ours
        found = conninfo_to_dict(f"postgresql://{who}{at}{where}{slash}{name.replace(' ', '%20')}?{'&'.join(others)}")
    if found is None:
        raise InvalidSetting(
            "the database URL must be one that libpq can read, got another",
            "for example: postgresql://user:password@host:5432/name; percent-encode special characters",
        )
    parameters = {key: str(value) for key, value in found.items() if value is not None}
    if hosts:
        split = [_host_and_port(host) for each in hosts for host in each.split(",")]
        parameters["host"] = ",".join(host for host, _ in split)
        if any(port for _, port in split):
            parameters["port"] = ",".join(port for _, port in split)
    if any(port and not _is_port(port) for port in parameters.get("port", "").split(",")):
        raise InvalidSetting(
            "SAGAWORKER_DATABASE_URL must have a number from 0 to 65535 as its port, got another",
            "a password is between user: and @host, its special characters percent-encoded",
        )
    if "," in parameters.get("host", ""):
        # A standby among the hosts cannot make a move.
        parameters.setdefault("target_session_attrs", "read-write")
    return parameters


def sqlalchemy_url(database_url: str) -> sa.URL:
    """The URL with the driver this project uses, for a caller's engine in tests and benchmarks."""
    return sa.make_url(database_url).set(drivername="postgresql+psycopg")


def _host_and_port(host: str) -> tuple[str, str]:
    if host.startswith("["):
        name, _, port = host[1:].partition("]")
        return name, port.removeprefix(":")
    if host.startswith(("/", "@")) or host.count(":") != 1:
        return host, ""
    name, _, port = host.partition(":")
    return name, port


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) < 1 << 16
