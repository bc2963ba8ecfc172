"""The result of a run: criteria with their values, as a table and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Criterion:
    """One criterion of the run. A criterion of kind `void` says whether the run proves anything at all."""

    name: str
    value: Any
    limit: str
    is_met: bool
    is_void: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The whole result."""

    seed: int
    seconds: float
    criteria: Sequence[Criterion]
    fired: Mapping[str, int]
    wanted: Mapping[str, int]
    figures: Mapping[str, Any]
    breaches: Sequence[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        if any(one.is_void and not one.is_met for one in self.criteria):
            return "void"
        return "passed" if all(one.is_met for one in self.criteria) else "failed"

    def show(self, console: Console) -> None:
        """Print the tables."""
        faults = Table("fault", "fired", "at least", title=f"Faults (seed {self.seed})", title_justify="left")
        for name, count in self.wanted.items():
            faults.add_row(name, str(self.fired.get(name, 0)), str(count))
        console.print(faults)
        figures = Table("figure", "value", title="Figures, not judged", title_justify="left")
        for name, value in self.figures.items():
            figures.add_row(name, str(value))
        console.print(figures)
        judged = Table("criterion", "value", "limit", "", title="Criteria", title_justify="left")
        for one in self.criteria:
            judged.add_row(one.name, str(one.value), one.limit, "[green]met" if one.is_met else "[red]NOT MET")
        console.print(judged)
        for breach in self.breaches[:40]:
            console.print(f"  {breach}", markup=False, soft_wrap=True)
        console.print(f"[bold]{self.verdict}[/] after {self.seconds:.0f} s")

    def write(self, path: Path) -> None:
        """Write the report as JSON."""
        path.write_text(json.dumps(asdict(self) | {"verdict": self.verdict}, indent=2, default=str) + "\n")


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of all do not exceed; 0 for no values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def counted(rules: Counter[str], *names: str) -> int:
    """How many breaches there are of these rules."""
    return sum(rules[name] for name in names)
