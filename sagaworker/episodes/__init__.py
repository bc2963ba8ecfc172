"""Claim, then decide, act and record, until the saga ends, waits, or the worker must stop."""

from sagaworker.episodes.delivery import Runner
from sagaworker.episodes.episode import EpisodeEnd, Observer
from sagaworker.episodes.place import ChildPlace, HostPlace, Place, ThreadPlace

__all__ = ["ChildPlace", "EpisodeEnd", "HostPlace", "Observer", "Place", "Runner", "ThreadPlace"]
