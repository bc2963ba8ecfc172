"""Records as tables, for 80 columns and for a pipe: every colour has a word beside it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from sagaworker.console import values, words
from sagaworker.console.spans import Span, spans
from sagaworker.domain.records import Episode, Finding, SagaRun, StepResult, Timeline
from sagaworker.domain.status import EpisodeOutcome, RunStatus, StepStatus
from sagaworker.domain.steplist import thawed

COLOURS = {
    "pending": "bright_black",
    "running": "cyan",
    "waiting": "blue",
    "compensating": "yellow",
    "completed": "green",
    "rolled_back": "magenta",
    "compensated": "magenta",
    "failed": "red",
    "compensation_failed": "bold red",
    "skipped": "bright_black",
    "died": "bold red",
    "orphaned": "red",
    "parked": "blue",
    "yielded": "blue",
}
_BAR = 18
_NAMES = 37  # columns for a step's name and status together, so that a line fits into 78
_LABEL = 8  # columns before a value
_VALUE = 65  # characters of a value, so that its line fits into 78 below a step too
_NO_TIME = timedelta(0)


def console() -> Console:
    """Standard output: with colours on a terminal, plain text in a pipe."""
    return _Visible(highlight=False, markup=False)  # kind[key] is not markup


class _Visible(Console):
    """Makes control characters visible, so that the terminal never obeys them: a step's error may hold any bytes."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        if isinstance(renderable, Text):
            renderable = renderable.copy()
            renderable.plain = words.visible_lines(renderable.plain)
        return super().render(renderable, options)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(words.visible_lines(text), **options)


def status_text(status: str) -> Text:
    """A status in its colour."""
    return Text(str(status), style=COLOURS.get(str(status), ""))


def bar(done: int, total: int, status: RunStatus, *, width: int) -> Text:
    """How far a saga is, as a bar; while it is undone the bar runs backwards."""
    full = round(width * done / total) if total else 0
    colour = COLOURS[status]
    return Text("━" * full, style=colour) + Text("─" * (width - full), style="bright_black")


def runs_table(runs: Sequence[SagaRun], passed_over: Collection[str] = ()) -> RenderableType:
    """Many sagas, a line each, and below it the reason why a saga waits. No worker could run the `passed_over` ones."""
    table = _table("id", "saga", "status", "done", "started")
    table.columns[1].overflow = "ellipsis"
    table.columns[3].justify = "right"
    table.columns[4].justify = "right"
    now = datetime.now(UTC)
    for run in runs:
        done, total = words.progress(run)
        ago = "" if run.inserted_at is None else words.ago(now - run.inserted_at)
        table.add_row(run.id, run.label, status_text(run.status), f"{done}/{total}", ago)
        waits = "no worker could run it" if run.id in passed_over else words.waiting_left(run, now)
        if waits:
            table.add_row(Text(f"  {waits}", style="blue"))
    return table


def timeline_view(
    timeline: Timeline, *, journal: bool = False, show_values: bool = False, in_full: bool = False
) -> RenderableType:
    """One saga: its status and why, each step with the times of its attempts, each worker's episode.

    `show_values`: also inputs and outputs, the actor, and who cancelled the saga. Each is one line unless `in_full`.
    """
    most = None if in_full else _VALUE
    parts: list[RenderableType] = [run_header(timeline.run, timeline.steps)]
    if show_values:
        parts += [_valued(name, values.cut(text, most)) for name, text in _about(timeline, most)]
    parts += ["", steps_view(timeline, show_values=show_values, most=most)]
    if timeline.episodes:
        parts += ["", episodes_table(timeline)]
    if journal:
        parts += ["", journal_table(timeline)]
    return Group(*parts)


def run_header(run: SagaRun, steps: Sequence[StepResult] = ()) -> RenderableType:
    """Name, status, time and reason."""
    title = Text.assemble((run.label, "bold"), "  ", status_text(run.status))
    begun, ended = run.started_at or run.inserted_at, run.completed_at
    if begun is not None and ended is not None:
        title.append(f" in {words.duration(ended - begun)}")
    if run.cancel_requested and not run.status.is_terminal:
        title.append("  cancel requested", style="yellow")
    lines: list[RenderableType] = [title, Text(f"{run.id}  {words.instant(run.inserted_at)}", style="bright_black")]
    for sentence, style in ((words.why(run, steps), "red"), (words.waiting(run), "blue")):
        if sentence:
            lines.append(Text(sentence, style=style))
    return Group(*lines)


def _about(timeline: Timeline, most: int | None) -> Iterator[tuple[str, str]]:
    run = timeline.run
    if run.actor_id is not None:
        yield "actor", words.visible(run.actor_id)
    if run.inputs:
        yield "inputs", values.shown(run.inputs, most)
    for entry in timeline.journal:
        if entry.type == "saga.cancel_requested":
            yield "cancel", words.cancel(entry)


def _valued(name: str, text: str) -> Text:
    return Text.assemble((f"{name:<{_LABEL}}", "bright_black"), text, overflow="fold")


def steps_view(timeline: Timeline, *, show_values: bool = False, most: int | None = None) -> RenderableType:
    """A line for each entry of the list, begun or not, and below it error, doubt, inputs and outputs.

    `tries` counts attempts, and after a plus those of the undo; `took` is the time of all attempts together.
    """
    attempts = _by_step(timeline)
    begin, end = _window(timeline)
    rows = {row.step_idx: row for row in timeline.steps}
    names = words.step_names(timeline.run)
    states = max((len(row.status) for row in timeline.steps), default=0)
    line = _StepLine(
        name=min(max(len("step"), *map(len, names)), _NAMES - states), status=max(states, len("not begun"))
    )
    parts: list[RenderableType] = [line.of("#", "step", Text("status"), "tries", "took", Text("when"), "bright_black")]
    params = [entry.params for entry in thawed(timeline.run.step_modules)]
    for idx, name in enumerate(names):
        row = rows.get(idx)
        if row is None:
            parts.append(line.of(str(idx), name, Text("not begun"), "", "", Text(), "bright_black"))
            if show_values and params[idx]:
                parts.append(indented(_valued("params", values.shown(params[idx], most)), line.indent))
            continue
        tries = f"{row.attempts}" + (f"+{row.compensation_attempts}" if row.compensation_attempts else "")
        took = sum(((span.end or end) - span.begin for span in attempts[idx] if span.what == "execute"), _NO_TIME)
        shown = words.duration(took) if row.attempts else ""
        parts.append(
            line.of(str(idx), name, status_text(row.status), tries, shown, _waterfall(attempts[idx], begin, end))
        )
        parts += [indented(note, line.indent) for note in _notes(row)]
        for label, value in (("params", params[idx]), ("output", row.output)):
            if show_values and value:
                parts.append(indented(_valued(label, values.shown(value, most)), line.indent))
    return Group(*parts)


@dataclass(frozen=True, slots=True)
class _StepLine:
    """Widths of the columns. Not a Table: a note below a step is as wide as the screen, not as a column."""

    name: int
    status: int

    indent = 5

    def of(self, idx: str, name: str, status: Text, tries: str, took: str, when: Text, style: str = "") -> Text:
        cut = name if len(name) <= self.name else name[: self.name - 1] + "…"
        gap = " " * (self.status - len(status))
        text = Text.assemble(f"{idx:>3}  {cut:<{self.name}}  ", status, gap, f"  {tries:>5}  {took:>8}  ", when)
        text.style = style
        text.rstrip()
        return text


def episodes_table(timeline: Timeline) -> Table:
    """Who held the saga, from when to when after its start, and how each episode ended."""
    begin, end = _window(timeline)
    table = _table("episode", "worker", "from", "to", "ended")
    for column in (0, 2, 3):
        table.columns[column].justify = "right"
    for number, episode in enumerate(timeline.episodes, start=1):
        until = "" if episode.ended_at is None else f"+{words.duration(episode.ended_at - begin)}"
        table.add_row(
            str(number),
            f"{episode.host}:{episode.pid}",
            f"+{words.duration(episode.started_at - begin)}",
            until,
            _ended(episode, end),
        )
    return table


def journal_table(timeline: Timeline) -> Table:
    """Every move, in order, with the person who made it and why, if a person did, and what went wrong."""
    begin, _ = _window(timeline)
    table = _table("seq", "after start", "move", "step", "status", "why")
    for column in (0, 1, 3):
        table.columns[column].justify = "right"
    for entry in timeline.journal:
        step = "" if entry.step_idx is None else str(entry.step_idx)
        status = str(entry.data.get("status") or "")
        after = f"+{words.duration(entry.created_at - begin)}"
        table.add_row(str(entry.seq), after, entry.type, step, status_text(status), words.note(entry))
    return table


def undo_view(run: SagaRun, rows: Sequence[StepResult]) -> RenderableType:
    """The steps that a cancel now would undo, in order."""
    if not rows:
        return Text(f"{run.label} is {run.status}: there is nothing to undo")
    names = words.step_names(run)
    lines = [Text(f"undone, in this order ({run.label} is {run.status}):")]
    for row in rows:
        doubt = "" if row.completed_at else ", which may or may not have happened"
        lines.append(Text(f"  step {row.step_idx} {names[row.step_idx]}{doubt}"))
    return Group(*lines)


def findings_view(findings: Sequence[Finding]) -> RenderableType:
    """Breaches of the ledger's invariants: which saga, which rule, what was found."""
    parts: list[RenderableType] = []
    for finding in findings:
        parts.append(Text.assemble((finding.saga_id, "bold"), f"  breaks invariant {finding.invariant}"))
        parts += [indented(Text(finding.rule)), indented(Text(words.visible(finding.detail), style="red"))]
    return Group(*parts)


def progress_table(timelines: Sequence[Timeline]) -> Table:
    """Several sagas at once, a line each: how far, what now."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    # Only the last column gives way on a narrow screen.
    longest = max((len(timeline.run.label) for timeline in timelines), default=0)
    for width in (min(longest, 30), _BAR, len(RunStatus.COMPENSATING)):
        table.add_column(no_wrap=True, min_width=width, max_width=width, overflow="ellipsis")
    table.add_column(no_wrap=True, overflow="ellipsis")
    for timeline in timelines:
        run = timeline.run
        done, total = words.progress(run)
        table.add_row(run.label, bar(done, total, run.status, width=_BAR), status_text(run.status), now_text(timeline))
    return table


def now_text(timeline: Timeline) -> Text:
    """Where a saga is: its step and attempt, what it waits for, or why it stopped."""
    run = timeline.run
    if run.status.is_terminal:
        return Text(words.why(run, timeline.steps), style="bright_black")
    if run.waiting_for is not None:
        return Text(words.waiting(run), style="blue")
    done, total = words.progress(run)
    idx = min(run.current_step_idx, total - 1)
    row = next((row for row in timeline.steps if row.step_idx == idx), None)
    text = Text(f"{done}/{total} done, at step {idx} {words.step_names(run)[idx]}")
    if row is not None and row.attempts > 1:
        text.append(f", attempt {row.attempts}", style="yellow")
    if timeline.episodes and timeline.episodes[-1].outcome in (EpisodeOutcome.DIED, EpisodeOutcome.ORPHANED):
        text.append(" - its worker died", style="bold red")
    return text


def indented(part: RenderableType, by: int = 2) -> Padding:
    """The same view, indented."""
    return Padding(part, (0, 0, 0, by), expand=False)


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bright_black", pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=column in ("id", "status"))
    return table


def _by_step(timeline: Timeline) -> dict[int, list[Span]]:
    found: dict[int, list[Span]] = defaultdict(list)
    for span in spans(timeline.journal):
        found[span.step_idx].append(span)
    return found


def _window(timeline: Timeline) -> tuple[datetime, datetime]:
    """The time that a timeline covers. For a saga that is over, the end is by the database's clock."""
    run = timeline.run
    begin = run.started_at or run.inserted_at or datetime.now(UTC)
    last = timeline.journal[-1].created_at if timeline.journal else begin
    return begin, run.completed_at or max(last, datetime.now(UTC))


def _waterfall(attempts: Sequence[Span], begin: datetime, end: datetime) -> Text:
    """The attempts as a bar over the saga's time: █ a step, ▒ its undo, ✗ an attempt whose worker was lost."""
    cells = [(" ", "")] * _BAR
    whole = max((end - begin).total_seconds(), 1e-6)
    for span in attempts:
        first = int((span.begin - begin).total_seconds() / whole * _BAR)
        last = int(((span.end or end) - begin).total_seconds() / whole * _BAR)
        first, last = min(max(first, 0), _BAR - 1), min(max(last, first), _BAR - 1)
        mark = ("▒", COLOURS["compensating"]) if span.what == "undo" else ("█", COLOURS["completed"])
        for cell in range(first, last + 1):
            cells[cell] = mark
        if span.how in ("died", "orphaned"):
            cells[last] = ("✗", COLOURS["died"])
    return Text.assemble(*cells)


def _notes(row: StepResult) -> list[Text]:
    notes = []
    is_settled = row.status in (StepStatus.COMPLETED, StepStatus.COMPENSATED)
    if row.recoveries or row.compensation_recoveries:
        lost = words.times(row.recoveries + row.compensation_recoveries)
        notes.append(Text(f"its worker was lost {lost}", style="yellow"))
    elif row.in_doubt and not is_settled:
        notes.append(Text("it may or may not have happened", style="yellow"))
    if row.error:
        notes.append(Text(words.first_line(row.error), style="red"))
    return notes


def _ended(episode: Episode, now: datetime) -> Text:
    if episode.outcome is not None:
        return status_text(episode.outcome)
    if episode.lease_until < now:
        return Text("lease ran out", style="red")
    return Text("holds it", style="cyan")
