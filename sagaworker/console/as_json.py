"""Records as JSON: `--json` prints the ledger's records under the names of their fields."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from typing import Any

import click


def plain(value: object) -> Any:
    """A record, or a list of them, as JSON values. Instants are ISO 8601 with offset, durations seconds."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return str(value) if isinstance(value, str) else value


def print_json(value: object, *, indent: int | None = 2) -> None:
    """Print one JSON document; without indent it is one line."""
    click.echo(_without_controls(json.dumps(plain(value), indent=indent, ensure_ascii=not _writes_unicode())))


def _writes_unicode() -> bool:
    return (sys.stdout.encoding or "").lower().startswith("utf")


def _without_controls(text: str) -> str:
    # JSON escapes those below the space only; a terminal obeys these too.
    return re.sub(r"[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]", lambda found: f"\\u{ord(found[0]):04x}", text)
