"""Every form of URL that libpq takes leads every part that connects to the same database, and none prints the password."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql

from sagaworker import Engine, SagaState
from sagaworker.console.unreachable import where
from sagaworker.ledger.migrate import migrate
from sagaworker.ledger.outage import OUTAGE
from sagaworker.settings import Settings
from tests.holding import claimed
from tests.house import HousePostgres
from tests.showing import timeline

S = "tests.ledger.test_urls:"
PASSWORD = "s3 cr%zz@t"
SAGAWORKER = [sys.executable, "-c", "from sagaworker.cli import main; main()"]


class Writes:
    TRANSACTIONAL = True

    def execute(self, state: SagaState) -> SagaState:
        state.connection.execute("CREATE TABLE IF NOT EXISTS written (saga text)")
        state.connection.execute("INSERT INTO written VALUES (%s)", (state.saga_id,))
        return state

    def compensate(self, state: SagaState) -> None: ...


@dataclass(frozen=True)
class House:
    """A server that is reached by TLS, IPv6 and a socket, and the account of a shop on it."""

    server: HousePostgres
    folder: Path
    port: int
    has_tls: bool


def _certificates(folder: Path) -> None:
    """A certificate of localhost, signed by an authority that nobody else knows."""
    (folder / "names").write_text("subjectAltName=DNS:localhost\n")
    for command in (
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.crt",
        "req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr",
        "x509 -req -days 2 -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -extfile names -out server.crt",
    ):
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)
    (folder / "server.key").chmod(0o600)
    if os.geteuid() == 0:
        shutil.chown(folder / "server.key", "nobody")


@pytest.fixture(scope="module")
def house(server_folder: Path) -> Iterator[House]:
    folder = server_folder / "house"
    folder.mkdir()
    folder.chmod(0o777)
    settings = {
        "listen_addresses": "127.0.0.1,::1" if _listens_on_ipv6() else "127.0.0.1",
        "unix_socket_directories": str(folder),
    }
    # The wheel's server speaks no TLS; the system's does.
    system = sorted(Path("/usr/lib/postgresql").glob("1[5-9]/bin/initdb"))
    has_tls = bool(system) and shutil.which("openssl") is not None
    if has_tls:
        _certificates(folder)
        settings |= {
            "ssl": "on",
            "ssl_cert_file": str(folder / "server.crt"),
            "ssl_key_file": str(folder / "server.key"),
        }
    with pytest.MonkeyPatch.context() as patched:
        if has_tls:
            patched.setenv("PG_BIN", str(system[-1].parent))
        yield from _served(server_folder, folder, settings, has_tls=has_tls)


def _served(server_folder: Path, folder: Path, settings: dict[str, str], *, has_tls: bool) -> Iterator[House]:
    with HousePostgres(server_folder / "house-server", settings) as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            made = sql.SQL("CREATE ROLE shop LOGIN PASSWORD {}").format(sql.Literal(PASSWORD))
            connection.execute(made)
        yield House(server, folder, int(server.url.rpartition(":")[2].partition("/")[0]), has_tls)


def _listens_on_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.fixture
def database(house: House) -> Iterator[str]:
    with psycopg.connect(house.server.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE shop OWNER shop")
        yield "shop"
        connection.execute("DROP DATABASE shop WITH (FORCE)")


def _dead() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


FORMS = {
    "one host": "postgresql://shop:{password}@127.0.0.1:{port}/shop",
    "a driver and no percent": "postgresql+psycopg://shop:{raw}@127.0.0.1:{port}/shop",
    "TLS": "postgresql://shop:{password}@localhost:{port}/shop?sslmode=verify-full&sslrootcert={folder}/ca.crt",
    "a service": "postgresql://?service=shop",
    "a socket": "postgresql://shop:{password}@/shop?host={folder}&port={port}",
    "a socket first": "postgresql://shop:{password}@{quoted}:{port}/shop",
    "IPv6": "postgresql://shop:{password}@[::1]:{port}/shop",
    "IPv6 second": "postgresql://shop:{password}@127.0.0.1:{dead},[::1]:{port}/shop",
    "two hosts": "postgresql://shop:{password}@127.0.0.1:{dead},127.0.0.1:{port}/shop",
    "two hosts as SQLAlchemy": "postgresql://shop:{password}@/shop?host=127.0.0.1:{dead}&host=127.0.0.1:{port}",
    "options": "postgresql://shop:{password}@127.0.0.1:{port}/shop?options=-csearch_path%3Dledger",
    "the password beside": "postgresql://shop@127.0.0.1:{port}/shop?password={password}",
}


@pytest.fixture(params=FORMS)
def url(request: pytest.FixtureRequest, house: House, database: str, monkeypatch: pytest.MonkeyPatch) -> str:
    if "IPv6" in request.param and not _listens_on_ipv6():
        pytest.skip("this machine has no IPv6")
    if request.param == "TLS":
        needs_tls(house)
    service = house.folder / "pg_service.conf"
    service.write_text(
        f"[shop]\nhost=127.0.0.1\nport={house.port}\ndbname={database}\nuser=shop\npassword={PASSWORD}\n"
        "options=-c search_path=ledger\n"
    )
    monkeypatch.setenv("PGSERVICEFILE", str(service))
    with psycopg.connect(house.server.url_of(database), autocommit=True) as connection:
        connection.execute("CREATE SCHEMA ledger AUTHORIZATION shop")
    return FORMS[request.param].format(
        password=quote(PASSWORD, safe=""),
        raw=PASSWORD,
        port=house.port,
        dead=_dead(),
        folder=house.folder,
        quoted=quote(str(house.folder), safe=""),
    )


def needs_tls(house: House) -> None:
    if not house.has_tls:
        pytest.skip("neither a PostgreSQL of the system, which speaks TLS, nor openssl is here")


def _secret_in(text: str) -> bool:
    return PASSWORD in text or quote(PASSWORD, safe="") in text or PASSWORD.split(maxsplit=1)[0] in text


def test_every_part_that_connects_reads_the_url_in_the_same_way(url, house, caplog, capfd):
    assert migrate(url)
    settings = Settings.from_env({}, database_url=url, step_packages=("steps", "tests.ledger"), lease=1.0)
    with Engine(settings) as engine:
        engine.check_schema()
        # Longer than the lease: without a heartbeat the walk would not be ours any more.
        nap = {"step": "steps.nap", "params": {"seconds": 2.5}}
        run = engine.start("t", ["steps.echo", nap, S + "Writes"], key="one")
        assert engine.run(run.id).status == "completed", timeline(engine, run.id)
        dead = engine.start("t", ["steps.echo"])
        hold = claimed(engine, dead.id)
        assert engine.recovery.take_over_dead(engine.owner) == 1
        hold.close()
        engine.sweep()
        assert engine.run(dead.id).status == "completed"
        assert engine.cancel(engine.start("t", ["steps.echo"]).id) == "cancelled"
        with engine.database.checkout() as pooled, engine.database.connect() as own:
            assert pooled.pgconn.ssl_in_use == own.pgconn.ssl_in_use
            assert pooled.pgconn.ssl_in_use or "verify-full" not in url
            ledger = pooled.execute("SELECT to_regclass('ledger.saga_runs') IS NOT NULL").fetchone()[0]
            assert ledger == ("options" in url or "service" in url)
            assert pooled.execute("SELECT saga FROM written").fetchall() == [(run.id,)]
        assert engine.audit() == []
    env = {name: value for name, value in os.environ.items() if not name.startswith("SAGAWORKER_")}
    env |= {"SAGAWORKER_DATABASE_URL": url}
    said = []
    for command in (["list", "--json"], ["audit"]):
        ended = subprocess.run(
            [*SAGAWORKER, *command], env=env, cwd=Path(__file__).parents[2], check=False, capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stderr
        said.append(ended.stdout + ended.stderr)
    assert len(json.loads(said[0])) == 3
    shown = capfd.readouterr()
    assert not any(map(_secret_in, [*said, shown.out, shown.err, caplog.text, where(url), repr(settings)]))


def test_a_certificate_that_cannot_be_verified_is_refused_by_every_part(house):
    needs_tls(house)
    url = FORMS["TLS"].format(password=quote(PASSWORD, safe=""), port=house.port, folder=house.folder)
    url = url.replace("localhost", "127.0.0.1")  # not the name in it
    with Engine(Settings.from_env({}, database_url=url)) as engine:
        for ask in (engine.check_schema, lambda: engine.get(str(uuid.uuid4())), engine.sweep, lambda: migrate(url)):
            with pytest.raises(OUTAGE, match="certificate"):
                ask()
