"""The times when no pool was at work: no saga could be resumed then, however quick takeovers are."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Self

Span = tuple[float, float]
Pools = Mapping[int, Sequence[int]]  # by pid of a pool's main: its children that live and are not stopped
EVERY = 0.1  # seconds between two looks


class Alive:
    """Looks at the pools again and again, while it is open."""

    def __init__(self, pools: Callable[[], Pools]) -> None:
        self._pools = pools
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chaos-alive", daemon=True)
        self.looks: list[tuple[float, Pools]] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over.wait(EVERY):
            self.looks.append((time.time(), self._pools()))


def nobody(looks: Sequence[tuple[float, Pools]], first_claims: Mapping[int, float]) -> list[Span]:
    """The times without a pool at work, each from the first look that found no pool to the first look that found one.

    A pool is at work from the first claim of any of its children (known by pid): before that claim it starts and connects.
    """
    began_work: dict[int, float] = {}
    for _, pools in looks:
        for main, children in pools.items():
            known = [first_claims.get(pid, math.inf) for pid in children]
            began_work[main] = min([*known, began_work.get(main, math.inf)])
    spans: list[Span] = []
    began: float | None = None
    for at, pools in looks:
        is_nobody = not any(children and began_work[main] <= at for main, children in pools.items())
        if began is not None:
            spans[-1] = (began, at)
        elif is_nobody:
            spans.append((at, at))
        began = (began or at) if is_nobody else None
    return spans


def within(span: Span, spans: Sequence[Span]) -> float:
    """How many seconds of one period lie in the others. The others do not overlap."""
    return sum(max(0.0, min(span[1], ended) - max(span[0], began)) for began, ended in spans)
