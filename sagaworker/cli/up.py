"""`sagaworker up`: servers, migrations, worker, beat and Flower, until Ctrl-C."""

from __future__ import annotations

import os
import re
import sys
import threading
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from sagaworker.cli.group import json_option
from sagaworker.cli.here import checked_settings, spoken
from sagaworker.console import render
from sagaworker.console.as_json import print_json
from sagaworker.console.running import NAME, Running, home, published, usable
from sagaworker.console.stack import NotReady, Stack, flower_port
from sagaworker.console.unreachable import check_broker, where
from sagaworker.embedded import Services, Supervisor, coloured_output
from sagaworker.ledger import variables
from sagaworker.ledger.migrate import migrate

# Left out: one line a second that says nothing.
_TICK = re.compile(r"Task sagaworker\.(wake_due|sweep_orphans)\[[0-9a-f-]+\] (received|succeeded)")


@click.command()
@click.option(
    "--concurrency", type=click.IntRange(1), help="Pool children of the worker; default one a core, at least 2."
)
@click.option(
    "--flower-port", "port", type=click.IntRange(0, 65535), default=0, help="Default 5555, or the next free one."
)
@click.option("--verbose", is_flag=True, help="Show the ticks of the beat as well.")
@json_option
def up(*, concurrency: int | None, port: int, verbose: bool, as_json: bool) -> None:
    """Run everything here until Ctrl-C: servers, migrations, worker, beat and Flower.

    Servers are those of SAGAWORKER_DATABASE_URL and SAGAWORKER_BROKER_URL, else private ones in .sagaworker (or
    SAGAWORKER_HOME), whose data stay. Other commands in this folder find them.
    """
    checked_settings()  # A bad variable is refused before anything starts.
    with usable(home()), Services() as services:
        if services.postgres is not None:
            variables.forget()
        prepare(services.env)
        stack = Stack(
            env=services.env,
            concurrency=concurrency or max(2, os.cpu_count() or 2),
            flower_port=flower_port(port),
            worker_name=f"up-{os.getpid()}@%h",
        )
        services.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with published(services.folder, _note(stack)):
            _supervise(stack, services, verbose=verbose, as_json=as_json)


def prepare(env: dict[str, str]) -> None:
    """Bring the ledger up to date and see that both servers answer.

    Raises:
        Unreachable: one does not.
    """
    with spoken(env["SAGAWORKER_DATABASE_URL"]):
        migrate(env["SAGAWORKER_DATABASE_URL"], schema=env.get("SAGAWORKER_SCHEMA") or None)
    check_broker(env["SAGAWORKER_BROKER_URL"])


def _note(stack: Stack) -> Running:
    return Running(
        database_url=stack.env["SAGAWORKER_DATABASE_URL"],
        broker_url=stack.env["SAGAWORKER_BROKER_URL"],
        flower_url=stack.flower_url,
        pid=os.getpid(),
    )


def _supervise(stack: Stack, services: Services, *, verbose: bool, as_json: bool) -> None:
    # With --json standard output is one object; the processes' output goes to standard error.
    console = Console(highlight=False, markup=False, file=sys.stderr) if as_json else render.console()
    processes = stack.processes()
    show = coloured_output([process.name for process in processes], console)

    def output(name: str, line: str) -> None:
        if verbose or not _TICK.search(line):
            show(name, line)

    supervisor = Supervisor(processes, output=output)
    ended = threading.Event()

    def announce() -> None:
        try:
            stack.wait_ready(stopped=ended.is_set)
        except NotReady as late:
            console.print(f"note: {late}", style="yellow")
        if ended.is_set():
            return
        if as_json:
            addresses = {"flower_url": stack.flower_url, "note": str(services.folder / NAME), "pid": os.getpid()}
            print_json(addresses, indent=None)
        else:
            console.print(_banner(stack, services))

    announcer = threading.Thread(target=announce, name="announce", daemon=True)
    announcer.start()
    try:
        supervisor.run()
    finally:
        ended.set()
        announcer.join(5)
    console.print("stopped; nothing is left running")


def _banner(stack: Stack, services: Services) -> Table:
    table = Table(
        title="\nsagaworker is up", title_justify="left", title_style="bold green", box=None, show_header=False
    )
    table.add_column(style="bright_black", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("Flower", stack.flower_url)
    for name, url, server in (
        ("database", stack.env["SAGAWORKER_DATABASE_URL"], services.postgres),
        ("broker", stack.env["SAGAWORKER_BROKER_URL"], services.valkey),
    ):
        table.add_row(name, where(url) + ("" if server is None else f", embedded in {_short(services.folder)}"))
    table.add_row("URLs", f"{_short(services.folder / NAME)} (yours only: passwords are in it)")
    table.add_row("try", "sagaworker start hello steps.echo steps.echo --wait")
    table.add_row("stop", "Ctrl-C\n")
    return table


def _short(path: Path) -> str:
    """The path relative to the working folder, if it is below that folder."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
