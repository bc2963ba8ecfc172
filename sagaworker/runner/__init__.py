"""Claim, then decide, act and record, until the saga ends, waits, or the worker must stop."""

from sagaworker.runner.delivery import Runner
from sagaworker.runner.episode import EpisodeEnd
from sagaworker.runner.holder import Observer
from sagaworker.runner.place import ChildPlace, HostPlace, Place, ThreadPlace

__all__ = ["ChildPlace", "EpisodeEnd", "HostPlace", "Observer", "Place", "Runner", "ThreadPlace"]
