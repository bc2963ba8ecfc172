"""What goes wrong on the way to the database is told without the password: in exceptions, logs, commands and records."""

from __future__ import annotations

import contextlib
import logging
import socket
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg
import pytest
from click.testing import CliRunner
from psycopg import sql

from sagaworker import Engine, RetryPolicy, SagaState
from sagaworker.cli import app
from sagaworker.episodes.heartbeat import Heartbeat
from sagaworker.errors import InvalidSetting
from sagaworker.ledger.lease import now
from sagaworker.ledger.migrate import migrate
from sagaworker.settings import Settings
from tests.holding import claimed
from tests.showing import timeline
from tests.waiting import wait_until

S = "tests.ledger.test_redaction:"
SECRET = "hush-hush"
PASSWORD = f"{SECRET} /:?#@%{SECRET}"  # no part of it may be told
Q = quote(PASSWORD, safe="")

# What is wrong, and a URL in which it is; `{at}` is the server that is there.
URLS = {
    "the password": f"postgresql://shop:{Q}@{{at}}/{{name}}",
    "the password beside": f"postgresql://shop@{{at}}/{{name}}?password={Q}",
    "the driver too": f"postgresql+psycopg://shop:{Q}@{{at}}/{{name}}",
    "the host": f"postgresql://shop:{Q}@nohost.invalid/{{name}}",
    "a dead port": f"postgresql://shop:{Q}@127.0.0.1:{{dead}}/{{name}}",
    "both hosts": f"postgresql://shop:{Q}@127.0.0.1:{{dead}},{{at}}/{{name}}",
    "both hosts as SQLAlchemy": f"postgresql://shop:{Q}@/{{name}}?host=127.0.0.1:{{dead}}&host={{at}}",
    "IPv6": f"postgresql://shop:{Q}@[::1]:{{dead}}/{{name}}",
    "a socket": f"postgresql://shop:{Q}@/{{name}}?host=/no/such/folder",
    "the certificate": f"postgresql://shop:{Q}@{{at}}/{{name}}?sslmode=verify-full&sslrootcert=/no/such/file",
    "the service": f"postgresql://shop:{Q}@/{{name}}?service=nowhere",
    "an option": f"postgresql://shop:{Q}@{{at}}/{{name}}?options=-cnonsense%3D1",
    "a parameter": f"postgresql://shop:{Q}@{{at}}/{{name}}?nonsense=1",
    "a value": f"postgresql://shop:{Q}@{{at}}/{{name}}?sslmode=nonsense",
    "a port too high": f"postgresql://shop:{Q}@127.0.0.1:99999/{{name}}",
    "no number as port": f"postgresql://shop:{Q}@127.0.0.1:port/{{name}}",
    "no host": f"postgresql://shop:{SECRET}/{{name}}",
    "a slash in it": f"postgresql://shop:{SECRET}/{SECRET}@{{at}}/{{name}}",
    "a question mark in it": f"postgresql://shop:{SECRET}?{SECRET}@{{at}}/{{name}}",
    "a mark, an equals sign": f"postgresql://shop:{SECRET}?host={SECRET}@{{at}}/{{name}}",
    "brackets": f"postgresql://shop:{SECRET}@[{SECRET}/{{name}}",
    "a space before": f"postgresql:// shop:{Q}@{{at}}/{{name}}?x",
    "one slash": f"postgresql:/shop:{Q}@{{at}}/{{name}}",
    "no user": f"postgresql://:{Q}@{{at}}/{{name}}",
    "percent": f"postgresql://shop:{SECRET}%zz%00@{{at}}/{{name}}",
}


@pytest.fixture(params=URLS)
def url(request: pytest.FixtureRequest, database_url: str) -> str:
    split = urlsplit(database_url)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        dead = probe.getsockname()[1]
    at = f"{split.hostname}:{split.port}"
    return URLS[request.param].format(at=at, dead=dead, name=split.path[1:])


def everything_of(problem: BaseException) -> str:
    told = [*traceback.format_exception(problem)]
    seen: set[int] = set()
    left: list[BaseException | None] = [problem]
    while left:
        one = left.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        told += [str(one), repr(one), repr(one.args), repr(vars(one))]
        left += [one.__cause__, one.__context__, getattr(one, "orig", None)]
    return "\n".join(told)


ASKS: dict[str, Callable[[Engine], object]] = {
    "check_schema": Engine.check_schema,
    "list": Engine.list,
    "start": lambda engine: engine.start("t", ["steps.echo"]),
    "sweep": Engine.sweep,
    "wait": lambda engine: engine.wait("01a1fdc4-0000-7000-8000-000000000000", timeout=0),
    "audit": Engine.audit,
    "take over": lambda engine: engine.recovery.take_over_dead("nobody"),
    "step": lambda engine: engine.database.connect_for_step(psycopg.Connection),
    "migrate": lambda engine: migrate(str(engine.settings.database_url)),
    "recover": Engine.recover,
}


def test_no_error_on_the_way_to_the_database_contains_the_password(url, caplog, capfd, tmp_path):
    caplog.set_level(logging.DEBUG)
    told = []
    for ask in ASKS.values():
        with contextlib.suppress(InvalidSetting):  # said once, below
            engine = Engine.from_env(database_url=url, broker_url=None)
            try:
                told.append(repr(ask(engine)))
            except Exception as problem:
                told.append(everything_of(problem))
            told.append(repr(engine.settings) + repr(engine.database))
            engine.close()
    for command in ("list", "migrate", "audit", "up"):
        home = {"SAGAWORKER_HOME": str(tmp_path), "SAGAWORKER_BROKER_URL": "redis://127.0.0.1:1/0"}
        ended = CliRunner().invoke(app, [command], env={**home, "SAGAWORKER_DATABASE_URL": url})
        assert ended.exit_code == 1
        assert ended.exception is None or isinstance(ended.exception, SystemExit), everything_of(ended.exception)
        told.append(ended.output)
    try:
        Engine.from_env(database_url=url, broker_url=None).close()
    except InvalidSetting as refused:
        told.append(everything_of(refused))
    shown = capfd.readouterr()
    lines = "\n".join((*told, caplog.text, shown.out, shown.err)).splitlines()
    assert [line for line in lines if SECRET in line] == []


class Meets:
    """A step whose transaction meets a password that was changed meanwhile."""

    TRANSACTIONAL = True
    RETRY = RetryPolicy(max_attempts=1)

    def execute(self, state: SagaState) -> SagaState:
        return state

    def compensate(self, state: SagaState) -> None: ...


class Changes:
    change: Callable[[], None] = staticmethod(lambda: None)

    def execute(self, state: SagaState) -> SagaState:
        type(self).change()
        return state

    def compensate(self, state: SagaState) -> None: ...


@pytest.fixture
def role(database_url: str) -> Iterator[tuple[str, Callable[[], None]]]:
    """A URL of an account of its own, and what changes its password."""
    split = urlsplit(database_url)
    if split.password is None:
        pytest.skip("the given server asks no password")
    name = f"redacted_{Path(split.path).name[-12:]}"
    with psycopg.connect(database_url, autocommit=True) as connection:

        def give(password: str) -> None:
            word = sql.Literal(password)
            connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(name), word))

        connection.execute(sql.SQL("CREATE ROLE {} SUPERUSER LOGIN").format(sql.Identifier(name)))
        give(PASSWORD)
        try:
            yield f"postgresql://{name}:{Q}@{split.hostname}:{split.port}{split.path}", lambda: give("another")
        finally:
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def test_a_step_and_a_heartbeat_that_are_refused_record_and_log_no_password(role, caplog, monkeypatch):
    url, change = role
    monkeypatch.setattr(Changes, "change", staticmethod(change))
    settings = Settings.from_env({}, database_url=url, step_packages=("steps", "tests.ledger"), lease=1.0)
    with Engine(settings) as engine:
        other, run = engine.start("t", ["steps.echo"]), engine.start("t", [S + "Changes", S + "Meets"])
        ended = engine.run(run.id)
        hold = claimed(engine, other.id)
        heartbeat = Heartbeat(engine.ledger)
        heartbeat.add(hold)
        asked = now()
        wait_until(lambda: "heartbeat failed" in caplog.text and now() > asked)
        heartbeat.close()
        hold.yield_()
        hold.close()
        recorded = timeline(engine, run.id)
        assert "password authentication failed" in recorded, ended
        assert SECRET not in recorded + caplog.text
