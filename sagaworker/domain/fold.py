"""The context: outputs of earlier steps folded in order, later names win, seen from any step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sagaworker.domain.values import Json, encoded


class Fold:
    """Outputs by name and step, so that the view from any step costs nothing to make and nothing to undo."""

    def __init__(self) -> None:
        self._by_name: dict[str, list[tuple[int, Json]]] = {}
        self._sizes: dict[str, int] = {}
        self.size = 2  # bytes of JSON text of the whole fold

    def add(self, step_idx: int, output: Mapping[str, Json], sizes: Mapping[str, int] | None = None) -> None:
        """Add what a step put out, in ascending order of steps; `sizes` are the bytes of each pair where known."""
        for name, value in output.items():
            self._by_name.setdefault(name, []).append((step_idx, value))
            size = (len(encoded({name: value})) - 2 if sizes is None else sizes[name]) + 1
            self.size += size - self._sizes.get(name, 0)
            self._sizes[name] = size

    def text(self) -> str:
        """The whole fold as JSON text."""
        return encoded({name: entries[-1][1] for name, entries in self._by_name.items()})

    def below(self, step_idx: int) -> Mapping[str, Json]:
        """What step `step_idx` sees: the outputs of steps before it."""
        return _View(self._by_name, step_idx)


class _View(Mapping[str, Json]):
    def __init__(self, by_name: Mapping[str, list[tuple[int, Json]]], limit: int) -> None:
        self._by_name = by_name
        self._limit = limit

    def __getitem__(self, name: str) -> Json:
        for step_idx, value in reversed(self._by_name[name]):
            if step_idx < self._limit:
                return value
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return (name for name, entries in self._by_name.items() if entries[0][0] < self._limit)

    def __len__(self) -> int:
        return sum(1 for _ in self)
