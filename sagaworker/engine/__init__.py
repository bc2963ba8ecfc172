"""The facade that users, tasks and commands call."""

from sagaworker.engine.engine import Engine

__all__ = ["Engine"]
