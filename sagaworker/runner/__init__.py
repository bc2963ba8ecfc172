"""Claim, then decide, act and record, until the saga ends, waits, or the worker must stop."""

from sagaworker.runner.episode import EpisodeEnd, Runner
from sagaworker.runner.place import ChildPlace, HostPlace, Place, ThreadPlace

__all__ = ["ChildPlace", "EpisodeEnd", "HostPlace", "Place", "Runner", "ThreadPlace"]
