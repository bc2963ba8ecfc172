"""Commands that see a saga through: run, wait, watch."""

from __future__ import annotations

import time

import click
from rich.console import Group
from rich.live import Live

from sagaworker.cli.group import json_option, timeout_option
from sagaworker.cli.here import engine_here
from sagaworker.cli.sagas import refuse_unless_completed, told
from sagaworker.console import render, words
from sagaworker.console.as_json import print_json
from sagaworker.domain.records import Timeline
from sagaworker.engine import Engine
from sagaworker.errors import WaitTimeout

_EVERY = 0.2


@click.command()
@click.argument("saga", metavar="ID")
@json_option
def run(saga: str, *, as_json: bool) -> None:
    """Walk a saga here and now, in this process, for one episode. Exit 1 when it ends other than completed."""
    with engine_here() as engine:
        found = engine.run(saga)
        told(engine, found.id, as_json=as_json)
        refuse_unless_completed(engine, found)


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
