"""The verdict on one run of tests: only a failed assertion is a kill."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

# pytest.raises and Hypothesis report a failed expectation under names of their own.
ASSERTIONS = ("AssertionError", "assert ", "Failed: DID NOT RAISE", "hypothesis.errors.FlakyFailure")

# A patch that no longer fits the code around it fails with these, inside an assertion about the walk, and proves nothing.
BROKEN = re.compile(r"\b(TypeError|AttributeError|NameError|UnboundLocalError|ImportError|SyntaxError)\(")


@dataclass(frozen=True)
class Verdict:
    """`is_killed`: an assertion failed. `message`: the assertion's first line, or why the run proves nothing."""

    is_killed: bool
    test: str
    message: str


def judged(report: Path, status: int, *, is_late: bool) -> Verdict:
    """Read a junit report. Import and collection errors, errors of fixtures' set-up and time-outs kill nothing."""
    if is_late:
        return Verdict(is_killed=False, test="", message="time-out")
    if status == 0:
        return Verdict(is_killed=False, test="", message="survived")
    if not report.exists():
        return Verdict(is_killed=False, test="", message=f"pytest ended with {status} and left no report")
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - our own file
        for ending in (*case.findall("failure"), *case.findall("error")):
            name = case.get("name", "")
            # After a set-up error the test never ran; a failed audit in a fixture's tear-down is an assertion.
            message = (ending.get("message") or "").replace("failed on teardown with ", "").strip('"')
            if message.startswith(("failed on setup", "collection failure")):
                continue
            if message.startswith(ASSERTIONS) and not BROKEN.search(message.splitlines()[0]):
                return Verdict(is_killed=True, test=name, message=message.splitlines()[0][:160])
            return Verdict(is_killed=False, test=name, message="no assertion: " + message.splitlines()[0][:140])
    return Verdict(is_killed=False, test="", message="errors outside the tests")
