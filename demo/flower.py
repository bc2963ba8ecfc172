"""Flower's HTTP API, used as a page in a browser would use it."""

from __future__ import annotations

import base64
import json
import time
import urllib.request

_WITHIN = 20.0  # events reach Flower a moment after the ledger has them


def names_shown(url: str, auth: str) -> set[str]:
    """The names of all tasks that Flower shows."""
    asked = urllib.request.Request(f"{url}/api/tasks?limit=10000")  # noqa: S310 - our own Flower
    asked.add_header("Authorization", "Basic " + base64.b64encode(auth.encode()).decode())
    with urllib.request.urlopen(asked, timeout=10) as answer:  # noqa: S310 - as above
        tasks = json.load(answer)
    return {str(task.get("name") or "") for task in tasks.values()}


def missing(url: str, auth: str, labels: list[str]) -> list[str]:
    """The labels that name no task in Flower, after waiting a little for the last ones."""
    deadline = time.monotonic() + _WITHIN
    while True:
        shown = names_shown(url, auth)
        left = [label for label in labels if not any(name.startswith(label) for name in shown)]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.2)
