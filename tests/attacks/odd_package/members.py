"""Members that are no steps of this module, and members that are wrong."""

import datetime  # noqa: F401, ICN001 - a foreign module
import subprocess  # noqa: F401 - a foreign module
from sqlite3 import Connection
from typing import ClassVar

from tests.attacks.odd_steps import Works
from tests.attacks.odd_steps import Works as Borrowed  # noqa: F401 - a step of another allowed module


class _Private(Works):
    pass


class Raising:
    @property
    def execute(self):
        raise RuntimeError("no member")


class NeedsArguments(Works):
    def __init__(self, one):
        self.one = one


class LeavesAtOnce(Works):
    def __init__(self):
        raise SystemExit(3)


class EmptyName(Works):
    NAME = ""


class NulName(Works):
    NAME = "a\x00b"


class SurrogateName(Works):
    NAME = "a\ud800b"


class LongName(Works):
    NAME = "x" * 10_000


class NanTimeout(Works):
    TIMEOUT = float("nan")


class ListInDoubt(Works):
    IN_DOUBT: ClassVar = ["retry"]


class OddInputs(Works):
    Inputs = dict


class Waiting(Works):
    """A policy whose wait no clock can hold."""

    @property
    def RETRY(self):  # noqa: N802 - a member of a step
        from sagaworker import RetryPolicy

        return RetryPolicy(max_attempts=2, base=1, max_delay=1e300)


__all__ = ["Connection"]


def __getattr__(name):
    raise RuntimeError(f"no member {name!r} here")
