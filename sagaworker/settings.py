"""Settings: the environment, read once, checked and frozen. Keyword arguments of Engine and install override it."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from typing import Any

from sagaworker.domain.definition import POLICIES
from sagaworker.domain.options import checked_queue
from sagaworker.errors import InvalidInput, InvalidSetting

PREFIX = "SAGAWORKER_"


def _seconds(name: str, text: str, *, least: float) -> timedelta:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not least <= value <= 86_400 * 366:
        raise InvalidSetting(f"{name} must be a number of seconds of at least {least:g}, got {text!r}")
    return timedelta(seconds=value)


def _count(name: str, text: str, *, least: int) -> int:
    if not text.strip().isascii() or not text.strip().isdigit() or int(text) < least:
        raise InvalidSetting(f"{name} must be a whole number of at least {least}, got {text!r}")
    return int(text)


def _packages(name: str, text: str) -> tuple[str, ...]:
    packages = tuple(part.strip() for part in text.split(",") if part.strip())
    wrong = [p for p in packages if not all(word.isidentifier() for word in p.split("."))]
    if wrong or not packages:
        raise InvalidSetting(
            f"{name} must be a comma separated list of Python packages, got {text!r}",
            "for example: steps,billing.steps",
        )
    return packages


def _policy(name: str, text: str) -> str:
    if text not in POLICIES:
        raise InvalidSetting(f"{name} must be one of {', '.join(POLICIES)}, got {text!r}")
    return text


def _url(name: str, text: str, *, schemes: tuple[str, ...]) -> str:
    if not text.startswith(schemes):
        # The value may hold a password: it is never repeated in the message.
        raise InvalidSetting(f"{name} must be a URL that starts with {' or '.join(schemes)}, got another scheme")
    return text


def _schema(name: str, text: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_$]{0,62}", text) or text.lower().startswith("pg_"):
        raise InvalidSetting(
            f"{name} must be a PostgreSQL schema: a letter or _, then letters, digits, _ or $, 63 at most, not pg_...,"
            f" got {text!r:.80}"
        )
    return text


def _queue(name: str, text: str) -> str:
    try:
        return checked_queue(text, name)
    except InvalidInput as exc:
        raise InvalidSetting(str(exc)) from None


def _options(name: str, text: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        # The value may hold a password: it is never repeated in the message.
        raise InvalidSetting(f"{name} must be a JSON object, got something else", 'for example {"master_name": "shop"}')
    return value


DATABASE_SCHEMES = ("postgresql://", "postgres://", "postgresql+psycopg://")
BROKER_SCHEMES = (
    "redis://",
    "rediss://",
    "redis+socket://",
    "valkey://",
    "amqp://",
    "amqps://",
    "memory://",
    "sentinel://",
)

_PARSERS: dict[str, Callable[[str, str], Any]] = {
    "database_url": lambda n, t: _url(n, t, schemes=DATABASE_SCHEMES),
    "broker_url": lambda n, t: _url(n, t, schemes=BROKER_SCHEMES),
    "broker_options": _options,
    "queue": _queue,
    "control_queue": _queue,
    "schema": _schema,
    "step_packages": _packages,
    "lease": lambda n, t: _seconds(n, t, least=0.5),
    "sweep_interval": lambda n, t: _seconds(n, t, least=0.1),
    "step_timeout": lambda n, t: _seconds(n, t, least=0.05),
    "step_grace": lambda n, t: _seconds(n, t, least=0.05),
    "max_recoveries": lambda n, t: _count(n, t, least=0),
    "recovery_policy": _policy,
    "source_stack": lambda _n, t: t,
    "source_env": lambda _n, t: t,
    "max_output_bytes": lambda n, t: _count(n, t, least=1),
    "max_context_bytes": lambda n, t: _count(n, t, least=1),
    "max_steps": lambda n, t: _count(n, t, least=1),
}
# Other parts of the program read and check these variables. Listed here, they are not refused as unknown.
_ELSEWHERE = frozenset(
    {"SAGAWORKER_FAILPOINTS", "SAGAWORKER_FAILPOINTS_FOLDER", "SAGAWORKER_TESTING", "SAGAWORKER_HOME"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set. Durations are timedeltas; sizes are bytes of JSON text.

    >>> Settings.from_env({"SAGAWORKER_LEASE": "5"}).lease
    datetime.timedelta(seconds=5)
    """

    database_url: str | None = field(default=None, repr=False)
    broker_url: str | None = field(default=None, repr=False)
    broker_options: Mapping[str, Any] | None = field(default=None, repr=False, hash=False)
    queue: str = "sagas"
    control_queue: str = "control"
    schema: str | None = None
    step_packages: tuple[str, ...] = ("steps",)
    lease: timedelta = timedelta(seconds=30)
    sweep_interval: timedelta = timedelta(seconds=10)
    step_timeout: timedelta = timedelta(seconds=300)
    step_grace: timedelta = timedelta(seconds=10)
    max_recoveries: int = 3
    recovery_policy: str = "restart"
    source_stack: str | None = None
    source_env: str | None = None
    max_output_bytes: int = 256 * 1024
    max_context_bytes: int = 1024 * 1024
    max_steps: int = 1000

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
        """Read SAGAWORKER_ variables, then apply keyword overrides (None = not given).

        Raises:
            InvalidSetting: a variable is unknown or illegal; the name and the legal values are in the message.
        """
        env = os.environ if env is None else env
        values: dict[str, Any] = {}
        for name in sorted(n for n in env if n.startswith(PREFIX) and n not in _ELSEWHERE):
            attribute = name.removeprefix(PREFIX).lower()
            if attribute not in _PARSERS:
                known = sorted(PREFIX + a.upper() for a in _PARSERS)
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
                raise InvalidSetting(f"{name} is not a setting", hint)
            if env[name] != "":
                values[attribute] = _PARSERS[attribute](name, env[name])
        return cls(**values).replace(**overrides)

    def replace(self, **overrides: Any) -> Settings:
        """A copy with keyword settings applied. Text is read like the variable of that name; None is ignored."""
        known = {f.name for f in fields(self)}
        values: dict[str, Any] = {}
        for name, value in overrides.items():
            if value is None:
                continue
            if name not in known:
                close = difflib.get_close_matches(name, sorted(known), n=1)
                raise InvalidSetting(
                    f"setting {name!r} is unknown: settings are {', '.join(sorted(known))}",
                    f"did you mean {close[0]}?" if close else "",
                )
            values[name] = _PARSERS[name](name, _as_text(value))
        return replace(self, **values)


def _as_text(value: object) -> str:
    """A keyword setting as its variable would spell it, so that one parser checks both."""
    match value:
        case timedelta():
            return str(value.total_seconds())
        case dict():
            return json.dumps(value)
        case list() | tuple():
            return ",".join(map(str, value))
        case _:
            return str(value)
