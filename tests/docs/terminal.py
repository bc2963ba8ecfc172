"""A page's terminal: its commands, what it says they print, and that with what differs from run to run left out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.docs.pages import blocks

# What no two runs share: ids, instants, durations, bars of a timeline, hosts with pids, and the width of columns.
_VARYING = (
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "ID"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"), "INSTANT"),
    (re.compile(r"\d+(\.\d+)? ?m?s\b"), "DURATION"),
    (re.compile(r"[█▒✗][█▒✗ ]*$", re.MULTILINE), ""),
    (re.compile(r"\b[\w.-]+:\d+\b"), "WORKER"),
    (re.compile(r" +"), " "),
    (re.compile(r" $", re.MULTILINE), ""),
)


@dataclass(frozen=True)
class Command:
    """One line after a `$`, and what stands below it."""

    line: str
    output: str


def commands(page: Path) -> list[Command]:
    """The commands of the page's console blocks, in order."""
    found = []
    for block in blocks(page):
        if block.language == "console":
            for entry in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
                line, _, output = entry.partition("\n")
                found.append(Command(line, output))
    return found


def lasting(text: str) -> str:
    """The text without what differs from run to run."""
    for pattern, instead in _VARYING:
        text = pattern.sub(instead, text)
    return text
