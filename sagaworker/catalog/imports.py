"""Imports of users' modules within a bound. A module that hangs costs one wait, and is not tried again for a while."""

from __future__ import annotations

import importlib
import sys
import time
from types import ModuleType

from sagaworker.catalog.bounded import Hung, bounded

LONGEST = 30.0  # seconds for one import: enough for large libraries too
REMEMBERED = 600.0  # seconds for which a module that hung is not tried again in this process


class Imports:
    """Imports by name within a bound. Safe between threads."""

    def __init__(self, *, within: float = LONGEST) -> None:
        self.within = within
        self._hung_until: dict[str, float] = {}

    def module(self, name: str) -> ModuleType:
        """The module of that name; no wait where it is imported already.

        Raises:
            Hung: the import did not end in time, now or a short while ago.
            BaseException: whatever the import raises.
        """
        there = sys.modules.get(name)
        if there is not None and not getattr(getattr(there, "__spec__", None), "_initializing", False):
            return there
        if time.monotonic() < self._hung_until.get(name, 0):
            raise Hung("an import", self.within)
        try:
            return bounded(lambda: importlib.import_module(name), self.within, "an import")
        except Hung:
            self._hung_until[name] = time.monotonic() + REMEMBERED
            raise
