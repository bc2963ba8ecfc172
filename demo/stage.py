"""The view of the sagas while they run: live on a terminal, elsewhere a line for each change."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from demo.cast import Part
from demo.wrong import Wrong
from sagaworker.console import render, words
from sagaworker.domain.records import Timeline
from sagaworker.engine import Engine

_EVERY = 0.1
_DEADLINE = 120.0  # for each wait; on an idle machine no wait takes ten seconds


class Stage:
    """The sagas sent so far and the ledger's record of each."""

    def __init__(self, engine: Engine, console: Console) -> None:
        self._engine = engine
        self._console = console
        self._parts: list[Part] = []
        self._seen: dict[str, Timeline] = {}
        self._said: dict[str, str] = {}
        self._began = time.monotonic()
        self._live = Live(console=console, refresh_per_second=8, transient=False) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def add(self, part: Part) -> None:
        """Add a saga to the view."""
        self._parts.append(part)

    def say(self, sentence: str) -> None:
        """Print a line above the sagas."""
        self._console.print(Text(sentence, style="bold"))

    def timeline(self, part: Part) -> Timeline | None:
        """The saga's timeline at the last look; None while no worker has stored the saga."""
        return self._seen.get(part.label)

    def ended(self, part: Part) -> Timeline:
        """The timeline of a saga that is over."""
        found = self._seen[part.label]
        assert found.run.status.is_terminal, part.label
        return found

    def until(self, what: str, is_so: Callable[[], bool]) -> None:
        """Look until the condition is true.

        Raises:
            Wrong: the condition was not true within two minutes; the message says where every saga is.
        """
        deadline = time.monotonic() + _DEADLINE
        while True:
            self._look()
            if is_so():
                return
            if time.monotonic() > deadline:
                raise Wrong(f"{what} must happen within {_DEADLINE:g} s, got: {self._where_all_are()}")
            time.sleep(_EVERY)

    def all_over(self) -> bool:
        """Whether every saga sent is terminal."""
        return all((seen := self.timeline(part)) is not None and seen.run.status.is_terminal for part in self._parts)

    def is_in_step(self, part: Part, name: str) -> bool:
        """Whether a worker holds the saga and is inside that step."""
        seen = self.timeline(part)
        if seen is None or not seen.episodes or seen.episodes[-1].ended_at is not None:
            return False
        return any(row.step_name == name and row.status == "running" for row in seen.steps)

    def _look(self) -> None:
        for part in self._parts:
            seen = self._seen.get(part.label)
            if seen is not None and seen.run.status.is_terminal:
                continue
            found = [seen.run] if seen else self._engine.list(kind=part.kind, key=part.key, limit=1)
            if found:
                self._seen[part.label] = self._engine.timeline(found[0].id)
        shown = [self._seen[part.label] for part in self._parts if part.label in self._seen]
        if self._live is not None:
            self._live.update(render.indented(render.progress_table(shown)))
        else:
            self._tell_changes(shown)

    def _tell_changes(self, shown: list[Timeline]) -> None:
        for timeline in shown:
            run = timeline.run
            text = f"{run.label:<22} {run.status:<12} {render.now_text(timeline)}".rstrip()
            if self._said.get(run.label) != text:
                self._said[run.label] = text
                self._console.print(f"  {time.monotonic() - self._began:5.1f} s  {text}", soft_wrap=True)

    def _where_all_are(self) -> str:
        said = []
        for part in self._parts:
            seen = self.timeline(part)
            said.append(f"{part.label} not stored" if seen is None else words.ending(seen.run, seen.steps))
        return "; ".join(said)
