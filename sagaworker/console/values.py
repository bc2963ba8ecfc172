"""Inputs, outputs and params for people: one line each, values that look secret masked. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from sagaworker.console.words import visible

MASK = "***"
_SECRET = re.compile(
    "passw|passphrase|pwd|secret|token|apikey|accesskey|privatekey|authorization|credential|bearer|cookie"
)
_SECRET_WORDS = frozenset({"auth", "jwt", "otp", "pin", "cvv", "cvc", "sig", "signature", "sas"})
# A password ends at the last @, whatever it holds; a long user name without a password may be a token.
_IN_URL = re.compile(r"://(?:([^/?#\s:@]*:)\S+|[^/?#\s:@]{12,})@")
_ASSIGNED = re.compile(r"([\w.-]+)(\s*=\s*)('[^']*'|\"[^\"]*\"|[^\s&;,'\"]+)")
_NAMES = ("name", "key")
_PAIR = 2


def looks_secret(name: str) -> bool:
    """Whether a value of this name looks like a secret.

    >>> [looks_secret(name) for name in ("api_key", "X-Api-Key", "dbPassword", "auth", "author", "pin_code", "shipping")]
    [True, True, True, True, False, True, False]
    """
    if not _SECRET_WORDS.isdisjoint(re.split(r"[\W_]+", name.lower())):
        return True
    return _SECRET.search(re.sub(r"[\W_]", "", name.lower())) is not None


def masked(value: object) -> object:
    """The same JSON with *** for values whose name looks secret, and for passwords in URLs and assignments.

    >>> masked({"to": "ann", "headers": [{"name": "Authorization", "value": "Basic eA=="}], "db": "pg://u:x@host/d"})
    {'to': 'ann', 'headers': [{'name': 'Authorization', 'value': '***'}], 'db': 'pg://u:***@host/d'}
    >>> masked([["Cookie", "a"], "https://ghp_0123456789@host/?access_token=1&page=2", "host=db password='a b'"])
    [['Cookie', '***'], 'https://***@host/?access_token=***&page=2', 'host=db password=***']
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
        if len(value) == _PAIR and isinstance(value[0], str) and looks_secret(value[0]):
            return [value[0], MASK]
        return [masked(item) for item in value]
    return _masked_text(value) if isinstance(value, str) else value


def _masked_text(text: str) -> str:
    without = _IN_URL.sub(lambda found: f"://{found[1] or ''}{MASK}@", text)
    return _ASSIGNED.sub(lambda found: found[1] + found[2] + MASK if looks_secret(found[1]) else found[0], without)


def shown(value: object, most: int | None) -> str:
    """A value as JSON on one line, masked, of at most so many characters; None: all of it.

    >>> shown({"n": 1, "token": "x", "page": "a long text"}, 30)
    '{"n": 1, "token": "***", "pag…'
    """
    return cut(visible(json.dumps(masked(value), ensure_ascii=False)), most)


def cut(text: str, most: int | None) -> str:
    """The beginning of the text, if it is longer."""
    return text if most is None or len(text) <= most else text[: most - 1] + "…"
