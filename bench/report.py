"""Rows, their targets, the table on a terminal and the JSON beside it."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median, quantiles
from typing import Literal

from rich.console import Console
from rich.table import Table

WIDE = 130  # columns of a terminal that has room for the notes


@dataclass(frozen=True, slots=True)
class Target:
    """A figure to reach: `at most` or `at least`."""

    bound: Literal["at most", "at least"]
    figure: float

    def verdict(self, value: float) -> str:
        """`met`, or by how much it was missed in hundredths of the target."""
        if value <= self.figure if self.bound == "at most" else value >= self.figure:
            return "met"
        return f"missed by {abs(value - self.figure) / self.figure:.0%}"

    def __str__(self) -> str:
        return f"{'≤' if self.bound == 'at most' else '≥'} {self.figure:,g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured line. `value` is None when the measurement was not run; `note` then says why.

    `low` and `high` are the quartiles of the rounds that `value` is the median of.
    """

    section: str
    what: str
    value: float | None
    unit: str
    low: float | None = None
    high: float | None = None
    target: Target | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """Whether the target was met; empty without a target."""
        if self.target is None:
            return ""
        return "not run" if self.value is None else self.target.verdict(self.value)


def of_rounds(
    section: str, what: str, rounds: Sequence[float], unit: str, *, target: Target | None = None, note: str = ""
) -> Row:
    """The median of the rounds, with their quartiles."""
    low, _, high = quantiles(rounds, n=4) if len(rounds) > 1 else (rounds[0],) * 3
    return Row(
        section=section, what=what, value=median(rounds), unit=unit, low=low, high=high, target=target, note=note
    )


@dataclass(slots=True)
class Report:
    """The results of one run of the bench."""

    server: dict[str, str]
    peers: dict[str, str] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    began: datetime = field(default_factory=lambda: datetime.now(UTC))

    def add(self, rows: Sequence[Row]) -> None:
        """Append the rows of a section."""
        self.rows.extend(rows)

    def circumstances(self) -> dict[str, str]:
        """Machine and versions: a figure without them says nothing."""
        ours = ("sagaworker", "celery", "kombu", "psycopg", "SQLAlchemy")
        return {
            "machine": f"{os.cpu_count()} cores, {_processor()}, {platform.system()} {platform.release()}",
            "python": platform.python_version(),
            **{name: version(name) for name in ours},
            **{f"postgresql {name}": value for name, value in self.server.items()},
            **self.peers,
        }

    def to_json(self) -> str:
        """The whole run as JSON text."""
        document = {
            "began": self.began.isoformat(timespec="seconds"),
            "seconds": round((datetime.now(UTC) - self.began).total_seconds()),
            "circumstances": self.circumstances(),
            "rows": [
                {**asdict(row), "target": str(row.target) if row.target else None, "verdict": row.verdict}
                for row in self.rows
            ],
        }
        return json.dumps(document, indent=2, ensure_ascii=False)

    def save(self, path: Path) -> None:
        """Write the JSON text, making the folder it goes to."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.to_json() + "\n", encoding="utf-8")

    def show(self, console: Console) -> None:
        """The table; without its notes where the terminal is too narrow for them."""
        table = Table(title="sagaworker bench", caption=_caption(self.circumstances()), caption_justify="left")
        table.add_column("what", min_width=44, max_width=60)
        table.add_column("median", justify="right", no_wrap=True)
        table.add_column("quartiles", justify="right", no_wrap=True, style="dim")
        table.add_column("target", justify="right", no_wrap=True)
        table.add_column("verdict", no_wrap=True)
        has_notes = console.width >= WIDE
        if has_notes:
            table.add_column("note", style="dim", max_width=50)
        section = ""
        for row in self.rows:
            if row.section != section:
                section = row.section
                table.add_section()
                table.add_row(f"[bold]{section}[/bold]")
            table.add_row(
                row.what,
                "not run" if row.value is None else f"{_figure(row.value)} {row.unit}".rstrip(),
                "" if row.low is None or row.high is None else f"{_figure(row.low)} … {_figure(row.high)}",
                str(row.target or ""),
                _coloured(row.verdict),
                *([row.note] if has_notes else []),
            )
        console.print(table)


def _coloured(verdict: str) -> str:
    colour = {"": "", "met": "green", "not run": "yellow"}.get(verdict, "red")
    return f"[{colour}]{verdict}[/{colour}]" if colour else ""


def _figure(value: float) -> str:
    magnitude = abs(value)
    return f"{value:,.0f}" if magnitude >= 100 else f"{value:.1f}" if magnitude >= 10 else f"{value:.2f}"


def _caption(circumstances: dict[str, str]) -> str:
    return " · ".join(f"{name} {value}" for name, value in circumstances.items())


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
