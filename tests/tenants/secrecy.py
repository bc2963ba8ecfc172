"""Is a secret anywhere it must not be? For a ledger dump, a journal, broker messages, logs, pages: any bytes."""

from __future__ import annotations

import base64
import json
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping

_AROUND = 30


def assert_nowhere(secrets: Iterable[str], sources: Mapping[str, bytes | str]) -> None:
    """Fail if one of the secrets is in one of the sources, plain or in an encoding that is easily undone.

    The failure names the source, the form and the place, and shows what stands before it, not the secret.
    """
    found = []
    for number, secret in enumerate(secrets):
        assert len(secret) >= 8, "a secret this short would be found by chance"
        for name, source in sources.items():
            content = source.encode() if isinstance(source, str) else source
            for form, needle in _forms(secret):
                if (at := content.find(needle)) >= 0:
                    before = content[max(0, at - _AROUND) : at]
                    found.append(f"secret {number}, {form}, in {name} at byte {at}, after {before!r}")
    assert not found, "\n".join(found)


def _forms(secret: str) -> Iterator[tuple[str, bytes]]:
    raw = secret.encode()
    yield "plain", raw
    yield "hex", raw.hex().encode()
    yield "upper hex", raw.hex().upper().encode()
    yield "url-encoded", urllib.parse.quote(secret, safe="").encode()
    yield "JSON", json.dumps(secret)[1:-1].encode()
    yield "UTF-16", secret.encode("utf-16-le")
    # Within a longer text the base64 form depends on where it begins; only the groups of its own are looked for.
    for offset in range(3):
        own = base64.b64encode(bytes(offset) + raw)[4 if offset else 0 : -4]
        yield f"base64 at offset {offset}", own
        yield f"url-safe base64 at offset {offset}", own.translate(bytes.maketrans(b"+/", b"-_"))
