"""One way to the database: whatever the URL, the database or a pooler between does, a session is ours or refused."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg.rows import tuple_row

from sagaworker import Engine
from sagaworker.cli.here import check_port
from sagaworker.console.unreachable import where
from sagaworker.errors import InvalidSetting
from sagaworker.ledger import session
from sagaworker.ledger.database import Database
from sagaworker.ledger.migrate import migrate
from sagaworker.ledger.session import SessionRefused
from sagaworker.ledger.url import parameters_of
from sagaworker.ledger.variables import VARIABLES
from tests.waiting import wait_until


def held(database):
    with database.checkout() as connection:
        pooled = connection.execute("SHOW statement_timeout").fetchone()[0]
    with database.connect() as own:
        return pooled, own.execute("SHOW statement_timeout").fetchone()[0]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize(
    "spelling", ["{user}@127.0.0.1:{dead},{host}/{name}", "{user}@/{name}?host=127.0.0.1:{dead}&host={host}"]
)
def test_a_dead_first_host_is_passed_over_by_every_path(database_url, spelling):
    split = urlsplit(database_url)
    user, _, host = split.netloc.rpartition("@")
    url = "postgresql://" + spelling.format(user=user, dead=free_port(), host=host, name=split.path[1:])
    with Engine.from_env(database_url=url, step_packages="steps") as engine:
        assert held(engine.database) == ("10s", "10s")
        run = engine.start("t", ["steps.echo"])
        engine.run(run.id)
        assert engine.get(run.id).status == "completed"
        assert engine.audit() == []
        engine.database.connect_for_step(psycopg.Connection).close()
    assert migrate(url)


def test_an_option_of_the_url_reaches_every_connection(database_url):
    joiner = "&" if "?" in database_url else "?"
    database = Database(f"{database_url}{joiner}options=-csearch_path%3Dsagas%2Cpublic")
    with (
        database.checkout() as pooled,
        database.connect() as own,
        database.connect_for_step(psycopg.Connection) as step,
    ):
        for connection in (pooled, own, step):
            assert connection.execute("SHOW search_path").fetchone()[0] == "sagas,public"
    database.close()


SESSION_VARIABLES = {
    "PGOPTIONS": "-cstatement_timeout=0 -csearch_path=nowhere -cenable_seqscan=on",
    "PGCLIENTENCODING": "LATIN1",
    "PGDATESTYLE": "German, DMY",
    "PGTZ": "Asia/Kathmandu",
    "PGGEQO": "off",
    "PGAPPNAME": "mine",
}


def test_no_variable_of_libpq_changes_a_session(database_url, monkeypatch):
    for name, value in SESSION_VARIABLES.items():
        monkeypatch.setenv(name, value)
    with Engine.from_env(database_url=database_url, step_packages="steps") as engine:
        with engine.database.checkout() as pooled, engine.database.connect() as own:
            assert guards(pooled) == guards(own) == session.SESSION
            assert {one.execute("SHOW application_name").fetchone()[0] for one in (pooled, own)} == {"sagaworker"}
        with engine.database.connect_for_step(psycopg.Connection) as step:
            assert step.execute("SHOW search_path").fetchone()[0] == '"$user", public'
            assert step.execute("SHOW client_encoding").fetchone()[0] == "UTF8"
        run = engine.start("t", ["steps.echo"], inputs={"message": "żółw"})
        engine.run(run.id)
        assert engine.get(run.id).status == "completed"
    assert migrate(database_url)


def test_what_the_url_leaves_out_is_asked_of_the_variables_of_libpq(database_url, monkeypatch, tmp_path):
    split = urlsplit(database_url)
    if split.password is None:
        pytest.skip("the given server asks no password")
    passfile = tmp_path / "pgpass"
    passfile.write_text(f"*:*:*:{split.username}:{split.password}\n")
    passfile.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(passfile))
    monkeypatch.setenv("PGPORT", str(split.port))
    url = f"postgresql://{split.username}@{split.hostname}{split.path}"
    database = Database(url)
    assert held_by(database) == session.SESSION
    database.close()
    assert migrate(url)


def test_all_variables_that_libpq_knows_are_known_here():
    known = {option.envvar.decode() for option in psycopg.pq.Conninfo.get_defaults() if option.envvar}
    assert known <= VARIABLES


def test_every_connection_has_a_limit_for_a_host_that_vanished(database_url):
    database = Database(database_url)
    with (
        database.checkout() as pooled,
        database.connect() as own,
        database.connect_for_step(psycopg.Connection) as step,
    ):
        for connection in (pooled, own, step):
            assert connection.info.get_parameters()["tcp_user_timeout"] == "11000"
    database.close()


@pytest.mark.parametrize(
    ("password", "meant"), [("a b", "a b"), ("a%20b", "a b"), ("p@ss", "p@ss"), ("p%40ss", "p@ss"), ("a#b", "a#b")]
)
def test_a_password_is_read_one_way_and_never_shown(password, meant):
    told = parameters_of(f"postgresql://u:{password}@h/db")
    assert told["password"] == meant
    with pytest.raises(InvalidSetting) as refused:
        parameters_of(f"postgresql://u:{password}@h/db?nonsense=1")
    assert told["password"] not in str(refused.value)


def test_a_database_that_writes_dates_in_german_is_read(database_url):
    name = urlsplit(database_url).path[1:]
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE \"{name}\" SET DateStyle = 'German, DMY'")
        connection.execute(f"ALTER DATABASE \"{name}\" SET IntervalStyle = 'sql_standard'")
    with Engine.from_env(database_url=database_url, step_packages="steps") as engine:
        run = engine.start("t", ["steps.echo"])
        engine.run(run.id)
        assert engine.timeline(run.id).run.status == "completed"
        assert engine.audit() == []


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_of_another_encoding_is_refused_by_a_sentence(database_url, encoding):
    name = f"other_{encoding.lower()}_{os.getpid()}"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'")
        url = database_url.replace(urlsplit(database_url).path, f"/{name}")
        try:
            with pytest.raises(SessionRefused, match=encoding):
                migrate(url)
            with Engine.from_env(database_url=url) as engine, pytest.raises(SessionRefused, match=encoding):
                engine.check_schema()
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def pooler(database_url):
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("pgbouncer is not installed")
    split = urlsplit(database_url)
    started = []
    folder = Path(
        tempfile.mkdtemp(prefix="sagaworker-tests-")
    )  # as root it runs as nobody, who enters none of pytest's
    folder.chmod(0o777)

    def start(mode, **settings):
        port = free_port()
        (folder / "users").write_text(f'"{split.username}" "{split.password or ""}"\n')
        (folder / "bouncer.ini").write_text(
            f"[databases]\n* = host={split.hostname} port={split.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
            f"listen_port = {port}\nunix_socket_dir =\nauth_type = plain\nauth_file = {folder}/users\n"
            f"pool_mode = {mode}\nlogfile = {folder}/log\n"
            + "".join(f"{name} = {value}\n" for name, value in settings.items())
        )
        as_user = ["-u", "nobody"] if os.geteuid() == 0 else []
        started.append(subprocess.Popen([program, *as_user, str(folder / "bouncer.ini")], stderr=subprocess.DEVNULL))
        wait_until(lambda: answers(port))
        return f"postgresql://{split.username}:{split.password or ''}@127.0.0.1:{port}{split.path}"

    yield start
    for process in started:
        process.kill()
        process.wait()
    shutil.rmtree(folder)


def guards(connection):
    with connection.cursor(row_factory=tuple_row) as cursor:
        return {name: cursor.execute("SELECT current_setting(%s)", (name,)).fetchone()[0] for name in session.SESSION}


@pytest.mark.parametrize("settings", [{}, {"ignore_startup_parameters": "options,extra_float_digits"}])
def test_behind_a_pooler_in_session_mode_every_guard_is_set(pooler, settings):
    url = pooler("session", **settings)
    if settings:
        url += "?options=-cstatement_timeout%3D0%20-clock_timeout%3D0"
    with Engine.from_env(database_url=url, step_packages="steps,tests.ledger", lease=1.0) as engine:
        for _ in range(2):  # the second gets the server of the first, as its client left it and the pooler reset it
            with engine.database.checkout() as pooled, engine.database.connect() as own:
                assert guards(pooled) == guards(own) == session.SESSION
            engine.database.close()
        nap = {"step": "steps.nap", "params": {"seconds": 2.0}}
        run = engine.start("t", ["steps.echo", nap, "tests.ledger.test_urls:Writes"])
        engine.run(run.id)
        assert engine.get(run.id).status == "completed"
        assert engine.audit() == []
    assert migrate(url)


def test_behind_a_pooler_in_session_mode_whose_servers_are_all_taken_one_connection_serves(pooler):
    database = Database(pooler("session", default_pool_size=1))
    assert held_by(database) == session.SESSION
    assert held_by(database) == session.SESSION
    database.close()


def held_by(database):
    with database.checkout() as pooled:
        return guards(pooled)


@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_a_pooler_that_lends_servers_is_refused_by_a_sentence(pooler, mode):
    url = pooler(mode)
    with Engine.from_env(database_url=url) as engine, pytest.raises(SessionRefused, match="pool_mode = session"):
        engine.check_schema()
    with pytest.raises(SessionRefused, match="pool_mode = session"):
        migrate(url)
    with psycopg.connect(url, autocommit=True) as other:  # gets the server that we had
        assert other.execute("SELECT current_setting('enable_seqscan')").fetchone()[0] == "on"
        assert other.execute("SELECT current_setting('statement_timeout')").fetchone()[0] == "0"


@pytest.mark.parametrize("in_turn", [0, 1])
@pytest.mark.parametrize("busy", [0, 2, 6])
def test_a_pooler_in_transaction_mode_with_several_servers_is_refused_at_first_contact(pooler, in_turn, busy):
    """Whichever server it lends next, and whatever others do meanwhile: twenty first contacts, none let in."""
    url = pooler("transaction", server_round_robin=in_turn)
    over = threading.Event()

    def work(client):
        while not over.is_set():
            client.execute("SELECT 1")

    with contextlib.ExitStack() as open_:
        clients = [open_.enter_context(psycopg.connect(url, autocommit=True, prepare_threshold=None)) for _ in range(6)]
        for client in clients:  # six servers, all idle at the end
            client.execute("BEGIN")
        for client in clients:
            client.execute("COMMIT")
        threads = [threading.Thread(target=work, args=(client,)) for client in clients[:busy]]
        for thread in threads:
            thread.start()
        try:
            for _ in range(20):
                with pytest.raises(SessionRefused, match="in transaction mode"):
                    Database(url).connect()
        finally:
            over.set()
            for thread in threads:
                thread.join()


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("postgresql://?service=shop", "service shop"),
        ("postgresql://u:p@[::1]:1/d", "[::1]:1"),
        ("postgresql:///d?host=/run/shop", "/run/shop:5432"),
        ("postgresql:///d", "localhost:5432"),
    ],
)
def test_every_form_of_url_is_named_as_its_user_knows_it(url, name):
    assert where(url) == name


def test_a_url_of_several_hosts_is_named_with_all_of_them():
    for url in ("postgresql://u:p@h1:1,h2:2/d", "postgresql://u:p@/d?host=h1:1&host=h2:2"):
        check_port("SAGAWORKER_DATABASE_URL", url)
        assert where(url) == "h1:1, h2:2"
