"""What went wrong between us and the database, for those above the ledger who must say it in a sentence."""

from __future__ import annotations

import psycopg
from sqlalchemy import exc

# A connection that is lost, or leads to a server that has become a read-only standby: another one may do.
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
# What one row's values can make a statement raise. The server is well, and the same statement without that row too.
POISON: tuple[type[Exception], ...] = (psycopg.DataError, psycopg.IntegrityError, psycopg.InternalError)


_SHORT = "53"  # class of SQLSTATE: disk or memory of a server that answers has run out


def _driver(error: Exception) -> BaseException:
    return error.orig if isinstance(error, exc.DBAPIError) and error.orig is not None else error


def is_short(error: Exception) -> bool:
    """Whether a server that is there has run out of disk or memory."""
    driver = _driver(error)
    return isinstance(driver, psycopg.Error) and (driver.sqlstate or "").startswith(_SHORT)


def reason(error: Exception) -> str:
    """The server's or the driver's own words, one line, without statement, parameters or password."""
    driver = _driver(error)
    server = driver.diag.message_primary if isinstance(driver, psycopg.Error) else None
    lines = [line.strip() for line in (server or str(driver)).splitlines() if line.strip()]
    # libpq tells of every address it tried and ends each with the reason; the last colon comes before it.
    last = lines[0].removeprefix("connection failed: ") if lines else type(driver).__name__
    return last.rpartition("failed: ")[2].removeprefix("FATAL:").strip() or type(driver).__name__
