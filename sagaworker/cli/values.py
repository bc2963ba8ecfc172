"""Inputs, outputs and params for people's eyes: one line each, and what looks secret is masked. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from sagaworker.cli.words import visible

MASK = "***"
_SECRET = re.compile(
    "passw|passphrase|pwd|secret|token|apikey|accesskey|privatekey|authorization|credential|bearer|cookie"
)
_IN_URL = re.compile(r"(://[^/?#\s:@]*:)[^/?#\s@]+(?=@)")
_NAMES = ("name", "key")


def looks_secret(name: str) -> bool:
    """Whether what has this name is nobody's to read over a shoulder.

    >>> [looks_secret(name) for name in ("api_key", "X-Api-Key", "dbPassword", "author")]
    [True, True, True, False]
    """
    return _SECRET.search(re.sub(r"[\W_]", "", name.lower())) is not None


def masked(value: object) -> object:
    """The same JSON with what has a secret's name, and passwords in URLs, replaced by ***.

    >>> masked({"to": "ann", "auth": [{"name": "Authorization", "value": "Basic eA=="}], "db": "pg://u:x@host/d"})
    {'to': 'ann', 'auth': [{'name': 'Authorization', 'value': '***'}], 'db': 'pg://u:***@host/d'}
    """
    if isinstance(value, Mapping):
        names_secret = any(isinstance(value.get(name), str) and looks_secret(value[name]) for name in _NAMES)
        return {
            name: MASK
            if item is not None and (looks_secret(str(name)) or (names_secret and name == "value"))
            else masked(item)
            for name, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [masked(item) for item in value]
    return _IN_URL.sub(rf"\g<1>{MASK}", value) if isinstance(value, str) else value


def shown(value: object, most: int | None) -> str:
    """A value as JSON on one line, masked, of at most so many characters; None: all of it.

    >>> shown({"n": 1, "token": "x", "page": "a long text"}, 30)
    '{"n": 1, "token": "***", "pag…'
    """
    return cut(visible(json.dumps(masked(value), ensure_ascii=False)), most)


def cut(text: str, most: int | None) -> str:
    """Its beginning where it is longer."""
    return text if most is None or len(text) <= most else text[: most - 1] + "…"
