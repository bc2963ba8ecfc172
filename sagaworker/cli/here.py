"""Which ledger and broker the commands work on: the environment's, else those of a running `sagaworker up`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import click

from sagaworker.console import running
from sagaworker.console.unreachable import database_trouble, let_nobody_in, where
from sagaworker.engine import Engine
from sagaworker.errors import InvalidSetting, SagaworkerError
from sagaworker.ledger import variables
from sagaworker.ledger.outage import OUTAGE, reason
from sagaworker.ledger.url import parameters_of
from sagaworker.settings import DATABASE_SCHEMES, Settings

_NO_LEDGER = "SAGAWORKER_DATABASE_URL must be set, got nothing, and no `sagaworker up` runs in this folder"


def settings_here() -> Settings:
    """The settings of the environment, with the servers of the running `up` where it names no ledger.

    Raises:
        InvalidSetting: a variable is illegal, or there is no ledger.
    """
    settings = checked_settings()
    if settings.database_url is not None:
        return settings
    found = running.find(running.home())
    if found is None:
        raise InvalidSetting(_NO_LEDGER, "for example postgresql://user@localhost/sagas; or run: sagaworker up")
    variables.forget()
    return settings.replace(database_url=found.database_url, broker_url=settings.broker_url or found.broker_url)


def checked_settings() -> Settings:
    """The settings of the environment, the ports of its URLs checked."""
    settings = Settings.from_env()
    check_port("SAGAWORKER_DATABASE_URL", settings.database_url or "")
    for url in (settings.broker_url or "").split(";"):  # as Celery writes several
        check_port("SAGAWORKER_BROKER_URL", url)
    return settings


def check_port(name: str, url: str) -> None:
    """Refuse a URL whose port is not a number, before a driver's error quotes the URL with its password."""
    try:
        if url.startswith(DATABASE_SCHEMES):
            parameters_of(url)
        else:
            urlsplit(url).port  # noqa: B018 - reading it checks it
    except ValueError:
        raise InvalidSetting(f"{name} must have a number from 0 to 65535 as its port, got another") from None


@contextlib.contextmanager
def engine_here(*, patience: float = 0.0) -> Iterator[Engine]:
    """An engine on the ledger of this place, its tables checked. A server's failure becomes one sentence.

    `patience`: seconds to wait for a database that is away.
    """
    settings = settings_here()
    assert settings.database_url is not None
    with (
        spoken(settings.database_url),
        Engine.from_env(database_url=settings.database_url, broker_url=settings.broker_url) as engine,
    ):
        _check_schema(engine, settings.database_url, until=time.monotonic() + patience)
        yield engine


def _check_schema(engine: Engine, database_url: str, *, until: float) -> None:
    is_told = False
    while True:
        try:
            engine.check_schema()
        except OUTAGE as away:
            left = until - time.monotonic()
            if left <= 0 or let_nobody_in(away):
                raise
            if not is_told:
                click.echo(f"note: database at {where(database_url)} is away, and waited for: {reason(away)}", err=True)
            is_told = True
            time.sleep(min(0.2, left))
        else:
            return


@contextlib.contextmanager
def spoken(database_url: str) -> Iterator[None]:
    """Within: raise an exception of the database as one sentence."""
    try:
        yield
    except SagaworkerError:
        raise
    except Exception as error:
        told = database_trouble(error, database_url)
        if told is None:
            raise
        raise told from error
