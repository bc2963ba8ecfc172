"""The errors between us and the database, for the code above the ledger that reports them."""

from __future__ import annotations

import psycopg
from sqlalchemy import exc

# The connection is lost, or leads to a server that has become a read-only standby: another connection may work.
LOST: tuple[type[psycopg.Error], ...] = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,
)
OUTAGE: tuple[type[Exception], ...] = (
    *LOST,
    exc.OperationalError,
    exc.InterfaceError,
    exc.TimeoutError,
)
REFUSAL: tuple[type[Exception], ...] = (psycopg.Error, exc.SQLAlchemyError)
# Errors that one row's values can cause. The server is well, and the same statement works without that row.
POISON: tuple[type[Exception], ...] = (psycopg.DataError, psycopg.IntegrityError, psycopg.InternalError)


_SHORT = "53"  # class of SQLSTATE: the server answers, but its disk or memory has run out


def _driver(error: Exception) -> BaseException:
    return error.orig if isinstance(error, exc.DBAPIError) and error.orig is not None else error


def is_short(error: Exception) -> bool:
    """Whether a server that answers has run out of disk or memory."""
    driver = _driver(error)
    return isinstance(driver, psycopg.Error) and (driver.sqlstate or "").startswith(_SHORT)


def reason(error: Exception) -> str:
    """The server's or the driver's own words, one line, without statement, parameters or password."""
    driver = _driver(error)
    server = driver.diag.message_primary if isinstance(driver, psycopg.Error) else None
    lines = [line.strip() for line in (server or str(driver)).splitlines() if line.strip()]
    # libpq has a line for every address it tried, each with its reason after the last colon.
    last = lines[0].removeprefix("connection failed: ") if lines else type(driver).__name__
    return last.rpartition("failed: ")[2].removeprefix("FATAL:").strip() or type(driver).__name__
