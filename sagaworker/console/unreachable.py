"""The error for a database or a broker that does not answer: host, port and remedy in one sentence, no password."""

from __future__ import annotations

from urllib.parse import urlsplit

from sagaworker.errors import SagaworkerError
from sagaworker.ledger.outage import OUTAGE, REFUSAL, is_short, reason
from sagaworker.ledger.url import parameters_of
from sagaworker.settings import DATABASE_SCHEMES

_PORTS = {"postgresql": 5432, "postgres": 5432, "amqp": 5672, "amqps": 5671}
_REDIS_PORT = 6379
# libpq gives no SQLSTATE for a refused connection, so read its text: a server that answers says FATAL.
_REFUSED = ("FATAL:", "no password supplied")
_NOT_NOW = (
    "starting up",
    "shutting down",
    "recovery mode",
    "not yet accepting",
    "too many",
    "connection slots",
    "terminating connection",
)


class Unreachable(SagaworkerError):
    """A server did not answer, or refused us: it broke `rule`."""

    def __init__(self, what: str, where: str, problem: str, remedy: str, rule: str = "be reachable") -> None:
        super().__init__(what, where, problem, remedy, rule)
        self.what = what
        self.where = where
        self.problem = problem
        self.remedy = remedy
        self.rule = rule

    def __str__(self) -> str:
        return f"{self.what} at {self.where} must {self.rule}, got: {self.problem}\n{self.remedy}"


def where(url: str) -> str:
    """`host:port` of a URL; never its user or password.

    >>> where("postgresql://ann:secret@db.example/sagas")
    'db.example:5432'
    """
    if url.startswith(DATABASE_SCHEMES):
        return _where_libpq_goes(parameters_of(url))
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    scheme = parts.scheme.partition("+")[0]
    return f"{parts.hostname or 'localhost'}:{port or _PORTS.get(scheme, _REDIS_PORT)}"


def _where_libpq_goes(parameters: dict[str, str]) -> str:
    if "service" in parameters and not parameters.keys() & {"host", "hostaddr"}:
        return f"service {parameters['service']}"
    hosts = (parameters.get("host") or parameters.get("hostaddr") or "localhost").split(",")
    ports = parameters.get("port", "").split(",")
    ports = ports * len(hosts) if len(ports) == 1 else ports
    return ", ".join(
        f"{f'[{host}]' if ':' in host else host}:{port or 5432}" for host, port in zip(hosts, ports, strict=False)
    )


def database_trouble(error: Exception, url: str) -> SagaworkerError | None:
    """The error to show for an exception that came from the database, or None when it came from elsewhere."""
    if is_short(error):
        remedy = "give its server what it lacks, then try again; see docs/operations.md"
        return Unreachable("database", where(url), reason(error), remedy, rule="have disk and memory left")
    if isinstance(error, OUTAGE) and let_nobody_in(error):
        remedy = "check user, password and database name in SAGAWORKER_DATABASE_URL"
        return Unreachable("database", where(url), reason(error), remedy, rule="let us in")
    if isinstance(error, OUTAGE):
        return Unreachable("database", where(url), reason(error), "start it, or set SAGAWORKER_DATABASE_URL")
    if isinstance(error, REFUSAL):
        remedy = "check that SAGAWORKER_DATABASE_URL names a ledger, and its user's rights"
        return Unreachable("database", where(url), reason(error), remedy, rule="do what a ledger does")
    return None


def let_nobody_in(error: Exception) -> bool:
    """Whether a server that answers refused us: waiting would not help."""
    driver = getattr(error, "orig", None) or error
    if getattr(driver, "sqlstate", None) is not None:
        return False  # the connection was accepted
    said = str(driver)
    return any(word in said for word in _REFUSED) and not any(word in said for word in _NOT_NOW)


def check_broker(url: str) -> None:
    """Ask the broker for a connection, once.

    Raises:
        Unreachable: no connection was made.
    """
    from celery import Celery  # most commands need no broker
    from kombu.exceptions import KombuError

    client = Celery(broker=url, set_as_current=False)
    with client, client.connection_for_write() as connection:
        try:
            connection.ensure_connection(max_retries=1, interval_start=0.2, timeout=10)
        except (OSError, KombuError, *connection.connection_errors) as problem:
            said = str(problem).partition("\n")[0] or type(problem).__name__
            raise Unreachable("broker", where(url), said, "start it, or set SAGAWORKER_BROKER_URL") from problem
