"""The database: one SQLAlchemy engine that owns the pool, and the psycopg connections the moves run on.

Moves run on psycopg because a statement through SQLAlchemy's text() costs a third more (measured); reads are composed
with SQLAlchemy. Both use connections of the same pool, in autocommit: a move is one statement, or one explicit
transaction.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, TypeAlias, TypeVar, cast
from urllib.parse import quote, unquote
from weakref import WeakKeyDictionary

import psycopg
import sqlalchemy as sa
from psycopg.adapt import AdaptersMap
from psycopg.conninfo import conninfo_to_dict
from psycopg.postgres import register_default_adapters, register_default_types
from psycopg.rows import DictRow, dict_row, tuple_row
from psycopg.types import TypesRegistry
from psycopg.types.json import set_json_dumps, set_json_loads
from sqlalchemy import exc as sa_exc

from sagaworker.errors import InvalidSetting, SagaworkerError, SchemaMismatch
from sagaworker.ledger import version
from sagaworker.ledger.names import qualified
from sagaworker.ledger.outage import LOST
from sagaworker.ledger.pool import ExactPool
from sagaworker.ledger.statements import statement_files

Connection: TypeAlias = psycopg.Connection[Any]
_Kind = TypeVar("_Kind", bound=Connection)
_Result = TypeVar("_Result")

# How values are written: what psycopg reads does not depend on what a database or a role is set to.
_FORM = {"client_encoding": "UTF8", "DateStyle": "ISO, MDY", "IntervalStyle": "postgres"}
# docs/protocol.md, rule 4. The session ends what hangs; TCP finds a database host that vanished.
_SESSION = _FORM | {
    "lock_timeout": "5s",
    "statement_timeout": "10s",
    "idle_in_transaction_session_timeout": "10s",
    "default_transaction_isolation": "read committed",
    # Every statement here touches a few rows by primary key or partial index: one generic plan serves all values. Made
    # while the tables were empty, it would read them whole until the next ANALYZE, so that plan is ruled out.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "TimeZone": "UTC",
}
_MIGRATING = _FORM | {"default_transaction_isolation": "read committed", "TimeZone": "UTC"}
# How a pooler is found out: so many other connections, so many turns with each, so many seconds for a server.
_OTHERS, _TURNS, _FOR_A_SERVER = 2, 10, 2.0
_GENERATION = "sagaworker.generation"
_GONE = ("08", "57P", "25006")  # SQLSTATE: connection exceptions; the server shuts down, crashed, starts; is read-only
# Keepalive ends an idle connection; with a statement in flight only the user timeout does, in milliseconds.
_TCP = {
    "keepalives": "1",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "11000",
}
_SECRETS = ("password", "sslpassword")


class SessionRefused(SagaworkerError):
    """The database let us in, but a ledger cannot live in such a session: `rule`, and what was got."""

    def __init__(self, rule: str, got: str, remedy: str) -> None:
        super().__init__(rule, got, remedy)
        self.rule = rule
        self.got = got
        self.remedy = remedy

    def __str__(self) -> str:
        return f"the database session must {self.rule}, got {self.got}\n{self.remedy}"


def parameters_of(database_url: str) -> dict[str, str]:
    """What libpq connects by, from any spelling of the URL: the only place where it is read.

    Several hosts may be written as libpq does (`h1:1,h2:2`) and as SQLAlchemy does (`?host=h1:1&host=h2:2`).

    >>> parameters_of("postgresql://ann@/sagas?host=a:1&host=b:2")["port"]
    '1,2'

    Raises:
        InvalidSetting: libpq cannot read it. The message repeats nothing of the URL.
    """
    rest = database_url.partition("://")[2]
    body, _, query = rest.partition("?")
    authority, slash, name = body.partition("/")
    if "@" in name:
        # A password with a slash: its end would be taken for a database's name, and told in errors.
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
    with contextlib.suppress(psycopg.Error):  # it quotes what it cannot read, so it is not even the error's context
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
        # A standby among them takes no move.
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


@contextlib.contextmanager
def _closed_on_error(connection: Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise


def _connect(
    kind: type[_Kind],
    parameters: dict[str, str],
    *,
    connect_timeout: int = 5,
    name: str = "sagaworker",
    **options: Any,
) -> _Kind:
    """Make a connection. Every connection of sagaworker comes from here."""
    theirs = parameters.get("connect_timeout", "")
    if theirs.isdigit() and int(theirs) > 0:
        connect_timeout = min(connect_timeout, int(theirs))
    asked: dict[str, Any] = {"application_name": name, **_TCP, **parameters}
    if "service" not in parameters and not os.environ.get("PGSERVICE"):
        asked.setdefault("options", "")  # said, so that PGOPTIONS is not asked; a service may have options of its own
    asked |= {"connect_timeout": connect_timeout, "client_encoding": "UTF8"}
    try:
        return kind.connect(autocommit=True, **asked, **options)
    except psycopg.Error as exc:
        said = str(exc)
        for secret in filter(None, map(parameters.get, _SECRETS)):
            said = said.replace(secret, "***")
        redacted = type(exc)(said)
    # Another one, without context: psycopg's carries all that the connection was made with, the password among it.
    raise redacted


def _prove(connection: Connection, session: dict[str, str]) -> None:
    """Set what we rely on by a statement (a pooler drops what the connection string asks for), and read it back."""
    encoding = connection.info.parameter_status("server_encoding")
    if encoding not in {None, "UTF8"}:
        raise SessionRefused("be of a database in UTF8", f"one in {encoding}", "create it with ENCODING 'UTF8'")
    made = ", ".join(f"pg_catalog.set_config('{name}', '{value}', false)" for name, value in session.items())
    held = ", ".join(f"pg_catalog.current_setting('{name}')" for name in session)
    with psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
        first = cursor.execute(f"SELECT pg_catalog.pg_backend_pid(), {made}".encode(), prepare=False).fetchone()
        second = cursor.execute(f"SELECT pg_catalog.pg_backend_pid(), {held}".encode(), prepare=False).fetchone()
    assert first is not None
    assert second is not None
    if first[0] != second[0]:
        raise _is_shared()
    lost = [name for name, set_to, now in zip(session, first[1:], second[1:], strict=True) if set_to != now]
    if lost:
        raise SessionRefused(
            "keep what is set in it", f"one that lost {', '.join(lost)}", "connect to PostgreSQL itself"
        )


def _is_ours_alone(connection: Connection, parameters: dict[str, str]) -> bool:
    """Whether the server of this connection is lent to nobody else between its statements; False: not known yet.

    A pooler in transaction mode lends the server that was given back last, or each in turn, and with traffic any: while
    two connections ask by turns, one of them gets what the other had. Two others, for a pooler that is several processes
    has idle servers in each.

    Raises:
        SessionRefused: it is lent.
    """
    mine = _backend(connection)
    if connection.info.backend_pid == mine:
        return True  # no pooler: it is as the server itself said
    for _ in range(_OTHERS):
        try:
            other = _connect(psycopg.Connection, parameters)
        except psycopg.OperationalError:
            return False  # the pooler takes no more connections
        with contextlib.closing(other):
            for _ in range(_TURNS):
                theirs = _backend_soon(other)
                if theirs == mine or _backend(connection) != mine:
                    raise _is_shared()
                if theirs is None:
                    return False
    return True


def _is_shared() -> SessionRefused:
    return SessionRefused(
        "be ours from statement to statement",
        "a pooler's, in transaction mode",
        "set pool_mode = session for this database, or connect to PostgreSQL itself",
    )


def migrating_engine(database_url: str) -> sa.Engine:
    """An engine without a pool and without our time-outs, for migrations."""
    parameters = parameters_of(database_url)

    def creator() -> Connection:
        connection = _connect(psycopg.Connection, parameters, name="sagaworker migrate")
        with _closed_on_error(connection):
            _is_ours_alone(connection, parameters)
            _prove(connection, _MIGRATING)
            connection.autocommit = False
        return connection

    return sa.create_engine("postgresql+psycopg://", creator=creator, poolclass=sa.NullPool)


# The schema of the ledger that a connection is used for: our own ones, and callers' connections that we have joined.
_schemas: WeakKeyDictionary[Connection, str] = WeakKeyDictionary()

_WHERE = """
    SELECT coalesce(
      (SELECT n.nspname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
       WHERE c.oid = to_regclass('saga_runs')),
      current_schema())
"""


@cache
def sql(name: str, schema: str = "") -> bytes:
    """The text of the statement file of that name without comments and indentation, its tables in `schema`.

    psycopg caches how it reads a query only up to 4,096 bytes; reading a longer one anew costs a third of a move.
    """
    text = statement_files()[name].read_text()
    lines = (line.strip() for line in text.splitlines())
    statement = " ".join(line for line in lines if line and not line.startswith("--")).encode()
    return qualified(statement, schema) if schema else statement


def use_schema(connection: Connection, schema: str) -> None:
    """From now on statement files run on this connection in that schema, whatever its search_path says."""
    _schemas[connection] = schema


def schema_of(connection: Connection) -> str:
    """The schema that `use_schema` said, or "": the search_path decides."""
    return _schemas.get(connection, "")


class Database:
    """Connections to one ledger. Safe between threads, and in a forked child, which leaves its parent's alone."""

    def __init__(
        self,
        database_url: str,
        *,
        schema: str | None = None,
        pool_size: int | None = None,
        cursor_class: type[psycopg.Cursor[Any]] | None = None,
    ) -> None:
        """`pool_size`: as many connections stay open, those in use counted; without it up to 5 that are not in use."""
        self._schema = schema
        self._parameters = parameters_of(database_url)
        # Another cursor only for failpoints: SQLAlchemy's own reads use it too.
        self._cursor_class: dict[str, Any] = {} if cursor_class is None else {"cursor_factory": cursor_class}
        self._pid = os.getpid()
        self._generation = 0
        self._is_proven = False
        self._engine = sa.create_engine(
            "postgresql+psycopg://",
            creator=self.connect,
            isolation_level="AUTOCOMMIT",
            poolclass=sa.QueuePool if pool_size is None else ExactPool,
            pool_size=pool_size or 5,
            max_overflow=-1,
            pool_recycle=1800,
        )

    @property
    def engine(self) -> sa.Engine:
        """The engine that owns the pool, for reads."""
        if self._pid != os.getpid():
            self.forget()
        return self._engine

    def schema(self, connection: Connection) -> str:
        """The schema of the ledger: the setting, else where this connection of ours finds it. Asked once.

        Before `migrate` it is where `migrate` would make the tables, and is asked again.
        """
        if self._schema is None:
            with psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
                row = cursor.execute(_WHERE).fetchone()
                if row is None or row[0] is None:
                    raise InvalidSetting(
                        "SAGAWORKER_DATABASE_URL must lead to a schema that exists, got a search_path without one",
                        "correct the search_path of the role or of the URL's options, or set SAGAWORKER_SCHEMA",
                    )
                self._schema = str(row[0])
        return self._schema

    def connect(self, *, connect_timeout: int = 5) -> Connection:
        """A connection: for the pool, or of its own, for the heartbeat, and for one incident of the local witness."""
        connection = _connect(
            psycopg.Connection, self._parameters, connect_timeout=connect_timeout, **self._cursor_class
        )
        with _closed_on_error(connection):
            # Before anything is set: others would get the server with our settings.
            self._is_proven = self._is_proven or _is_ours_alone(connection, self._parameters)
            _prove(connection, _SESSION)
            return self._placed(connection)

    def connect_for_step(self, kind: type[_Kind]) -> _Kind:
        """A connection for a TRANSACTIONAL step: in transactions, and planned as its own statements deserve.

        READ COMMITTED, whatever the database defaults to: the move at its end must see what was noted or cancelled
        meanwhile. A stricter level would refuse it.
        """
        if self._schema is None:
            with self.checkout() as own:
                self.schema(own)
        connection = _connect(kind, self._parameters, name="sagaworker step")
        with _closed_on_error(connection):
            _prove(connection, _FORM)
            connection.autocommit = False
            connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        use_schema(connection, self._schema or "")
        return connection

    def _placed(self, connection: _Kind) -> _Kind:
        use_schema(connection, self.schema(connection))
        return connection

    @contextlib.contextmanager
    def checkout(self) -> Iterator[Connection]:
        """A pooled psycopg connection. After any error it is thrown away rather than returned."""
        pooled = self.engine.raw_connection()
        while pooled.info.setdefault(_GENERATION, self._generation) < self._generation:
            pooled.invalidate()
            pooled.close()
            pooled = self.engine.raw_connection()
        try:
            connection = cast("Connection", pooled.driver_connection)
            if connection not in _schemas:
                self._placed(connection)
            yield connection
        except BaseException as exc:
            pooled.invalidate()
            if isinstance(exc, LOST):
                self.retire(exc)
            self.refuse_older(exc)
            raise
        finally:
            pooled.close()

    def again(self, work: Callable[[Connection], _Result]) -> _Result:
        """Run work that may be done twice without harm; once more on a fresh connection when one was stale."""
        try:
            with self.checkout() as connection:
                return work(connection)
        except LOST:
            with self.checkout() as connection:
                return work(connection)

    def retried(self, name: str, parameters: dict[str, Any]) -> list[DictRow]:
        """Run a statement that may be sent twice without harm; once more on a fresh connection when one was stale."""
        return self.again(lambda connection: execute(connection, name, parameters))

    def retire(self, error: psycopg.Error) -> None:
        """Use no connection again that is open now, where this error says that the server may be gone from all of them.

        Each is closed when its turn comes: to dispose of the pool would leave those in use to the garbage collector.
        """
        if error.sqlstate is None or error.sqlstate.startswith(_GONE):
            self._generation += 1

    def refuse_older(self, error: BaseException | None) -> None:
        """Say so where that is what an error comes from: that the database has no ledger, or that of another version.

        Raises:
            SchemaMismatch: it is not migrated, as `version.check` says.
        """
        driver = error.orig if isinstance(error, sa_exc.DBAPIError) else error
        if not isinstance(driver, (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn)):
            return
        try:
            version.check(self.engine, self._schema)
        except SchemaMismatch as mismatch:
            raise mismatch from error

    def forget(self) -> None:
        """After a fork: leave the parent's sockets alone and start with an empty pool."""
        self._pid = os.getpid()
        self._engine.dispose(close=False)

    def close(self) -> None:
        """Close the idle connections."""
        self._engine.dispose()


def _adapters() -> AdaptersMap:
    """Psycopg's own, whatever the application has registered on its connections or for all of them."""
    types = TypesRegistry()
    register_default_types(types)
    ours = AdaptersMap(types=types)
    register_default_adapters(ours)
    set_json_loads(json.loads, ours)
    set_json_dumps(json.dumps, ours)
    return ours


_ADAPTERS = _adapters()


def _backend(connection: Connection) -> int:
    with psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
        row = cursor.execute("SELECT pg_catalog.pg_backend_pid()", prepare=False).fetchone()
    assert row is not None
    return int(row[0])


def _backend_soon(connection: Connection) -> int | None:
    """Its server, or None: none is free, and a pooler in session mode lets us wait for a long time."""
    until = time.monotonic() + _FOR_A_SERVER
    asked = connection.pgconn
    asked.send_query(b"SELECT pg_catalog.pg_backend_pid()")
    asked.flush()
    answer = select.poll()
    answer.register(asked.socket, select.POLLIN)
    while asked.is_busy():
        if not answer.poll(max(0.0, until - time.monotonic()) * 1000):
            return None
        asked.consume_input()
    result = asked.get_result()
    value = None if result is None else result.get_value(0, 0)
    while result is not None:
        result = asked.get_result()
    return None if value is None else int(value)


def _cursor(connection: Connection) -> psycopg.Cursor[DictRow]:
    """Not the connection's own kind of cursor: a caller's connection may make any (ClientCursor, RawCursor).

    But the one that failpoints hurt, where they are set.
    """
    kind = connection.cursor_factory
    chosen: type[psycopg.Cursor[Any]] = kind if getattr(kind, "is_hurt_by_failpoints", False) else psycopg.Cursor
    return adapted(chosen(connection, row_factory=dict_row))


def adapted(cursor: psycopg.Cursor[_Result]) -> psycopg.Cursor[_Result]:
    """The cursor with our adapters: psycopg copies the connection's, and has no public way to give it others."""
    cursor._adapters = _ADAPTERS  # noqa: SLF001
    return cursor


def _is_binary(connection: Connection) -> bool:
    """Whether this session writes instants or intervals as psycopg cannot read them: then they come as numbers."""
    known = connection.info.parameter_status
    return not (known("DateStyle") or "").startswith("ISO") or known("IntervalStyle") != "postgres"


def execute(connection: Connection, name: str, parameters: dict[str, Any]) -> list[DictRow]:
    """Run one statement file, prepared, and fetch its rows."""
    with _cursor(connection) as cursor:
        return cursor.execute(
            sql(name, schema_of(connection)), parameters, prepare=True, binary=_is_binary(connection)
        ).fetchall()


def execute_one(connection: Connection, name: str, parameters: dict[str, Any]) -> DictRow | None:
    """Run one statement file, prepared, and fetch its only row, or None."""
    with _cursor(connection) as cursor:
        return cursor.execute(
            sql(name, schema_of(connection)), parameters, prepare=True, binary=_is_binary(connection)
        ).fetchone()


def execute_locked(connection: Connection, name: str, parameters: dict[str, Any]) -> DictRow | None:
    """Lock the saga row, then run the move on a fresh snapshot, in one transaction (docs/protocol.md, rule 11)."""
    with connection.transaction():
        execute(connection, "lock_run", parameters)
        return execute_one(connection, name, parameters)
