"""Commands that look at sagas: list, show, wait, watch."""

from __future__ import annotations

import time
from typing import Any

import click
from rich.console import Group
from rich.live import Live

from sagaworker.cli.group import json_option, timeout_option
from sagaworker.cli.here import engine_here
from sagaworker.cli.starts import refuse_unless_completed, told
from sagaworker.console import render, words
from sagaworker.console.as_json import print_json
from sagaworker.domain.records import Timeline
from sagaworker.domain.status import RunStatus
from sagaworker.engine import Engine
from sagaworker.errors import WaitTimeout

_EVERY = 0.2


@click.command("list")
@click.option("--status", multiple=True, type=click.Choice([status.value for status in RunStatus]))
@click.option("--kind")
@click.option("--key")
@click.option("--actor", "actor_id")
@click.option("--conversation", "conversation_id")
@click.option("--needs-person", is_flag=True, default=None, help="Only those that go no further without a person.")
@click.option("--since", metavar="AGO|INSTANT", help="Only those started since: 90s, 15m, 2h, 3d, or an ISO instant.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@click.option("--offset", type=click.IntRange(0), default=0)
@click.option(
    "--after", metavar="ID", help="The next page: only older ones than that saga, the last of the page before."
)
@json_option
def list_(*, status: tuple[str, ...], limit: int, offset: int, as_json: bool, **filters: Any) -> None:
    """List sagas, newest first, and what each waits for."""
    with engine_here() as engine:
        runs = engine.list(status=list(status) or None, limit=limit, offset=offset, **filters)
        passed_over = engine.reads.passed_over([run.id for run in runs])
    if as_json:
        print_json(runs)
    elif runs:
        render.console().print(render.runs_table(runs, passed_over))
        if len(runs) == limit:
            click.echo(f"for older ones, the same with: --after {runs[-1].id}", err=True)
    else:
        click.echo("no sagas")


@click.command()
@click.argument("saga", metavar="ID")
@click.option("--journal", is_flag=True, help="Every move as well.")
@click.option("--undo", is_flag=True, help="Instead: what a cancel now would undo, in order.")
@click.option("--full", is_flag=True, help="Inputs, params, outputs and reasons in full, not a line of each.")
@json_option
def show(saga: str, *, journal: bool, undo: bool, full: bool, as_json: bool) -> None:
    """Show the timeline of a saga, and what went in and came out. ID is its id, or kind[key] where it has a key.

    What has the name of a secret (password, token, ...) is masked. With --json nothing is, and nothing is cut.
    """
    with engine_here() as engine:
        if undo:
            id = engine.id_of(saga)
            rows = engine.undo_list(id)
            if as_json:
                print_json(rows)
            else:
                render.console().print(render.undo_view(engine.get(id), rows))
            return
        timeline = engine.timeline(engine.id_of(saga))
    if as_json:
        print_json(timeline)
    else:
        render.console().print(render.timeline_view(timeline, journal=journal, show_values=True, in_full=full))


@click.command()
@click.argument("saga", metavar="ID")
@timeout_option
@json_option
def wait(saga: str, *, timeout: float, as_json: bool) -> None:
    """Wait until a saga is over. Exit 1 when it ends other than completed, or not in time.

    A database that is away is waited for as well.
    """
    until = time.monotonic() + timeout
    with engine_here(patience=timeout) as engine:
        try:
            found = engine.wait(saga, timeout=max(0.0, until - time.monotonic()))
        except WaitTimeout as late:
            raise WaitTimeout(late.saga_id, late.status, timeout) from late
        told(engine, found.id, as_json=as_json)
        refuse_unless_completed(engine, found)


@click.command()
@click.argument("saga", metavar="ID")
@json_option
def watch(saga: str, *, as_json: bool) -> None:
    """Follow a saga until it is over. In a pipe a line for each move; with --json a JSON object for each."""
    with engine_here() as engine:
        id = engine.id_of(saga)
        console = render.console()
        if as_json or not console.is_terminal:
            _follow_lines(engine, id, as_json=as_json)
            return
        timeline = engine.timeline(id)
        with Live(_view(timeline), console=console, refresh_per_second=8) as live:
            while not timeline.run.status.is_terminal:
                time.sleep(_EVERY)
                timeline = engine.timeline(id)
                live.update(_view(timeline))


def _view(timeline: Timeline) -> Group:
    done, total = words.progress(timeline.run)
    bar = render.bar(done, total, timeline.run.status, width=60)
    bar.append(f"  {done}/{total} done")
    return Group(render.timeline_view(timeline), "", bar)


def _follow_lines(engine: Engine, id: str, *, as_json: bool) -> None:
    seen = 0
    while True:
        timeline = engine.timeline(id)
        for entry in timeline.journal[seen:]:
            if as_json:
                print_json(entry, indent=None)
            else:
                names = words.step_names(timeline.run)
                step = "" if entry.step_idx is None else f"{entry.step_idx} {names[entry.step_idx]}"
                status = str(entry.data.get("status") or "")
                line = f"{words.instant(entry.created_at)}  {status:<12}  {entry.type:<22}  {step:<12}  {words.note(entry)}"
                click.echo(words.visible(line.rstrip()))
        seen = len(timeline.journal)
        if timeline.run.status.is_terminal:
            return
        time.sleep(_EVERY)
