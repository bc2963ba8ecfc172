"""`sagaworker`: arguments in, one engine call, rendering out."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import click

from sagaworker.cli.group import Commands, Later, Refused, unusable

__all__ = ["app", "main"]

INTERRUPTED = 130


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="sagaworker", message="sagaworker %(version)s")
def app() -> None:
    """Durable sagas on the Celery workers you already run.

    Works on the ledger of SAGAWORKER_DATABASE_URL, else on that of a `sagaworker up` which runs in this folder.
    """


# In the order in which a newcomer uses them.
for _name, _where, _sentence in (
    ("up", "up:up", "Run everything here until Ctrl-C: servers, migrations, worker, beat and Flower."),
    ("demo", "checkout:demo", "Walk real sagas end to end: kill a worker, cancel, undo, provision tenants."),
    ("migrate", "ledger:migrate", "Create the ledger's tables, or bring them up to date."),
    (
        "start",
        "starts:start",
        "Start a saga of KIND that walks the STEPs; without any, those of the kind's definition.",
    ),
    ("list", "reads:list_", "List sagas, newest first, and what each waits for."),
    ("show", "reads:show", "Show the timeline of a saga, and what went in and came out."),
    ("watch", "reads:watch", "Follow a saga until it is over."),
    ("wait", "reads:wait", "Wait until a saga is over."),
    ("run", "episodes:run", "Walk a saga here and now, in this process, for one episode."),
    ("cancel", "cancels:cancel", "Cancel a saga: what it did is undone."),
    ("explain", "operators:explain", "Say in plain words why a saga is where it is, and what a person must do."),
    ("ring", "operators:ring", "Send the doorbell of a saga now, rather than wait for the next sweep."),
    ("hold", "operators:hold", "Let nothing new of a saga begin until it is released."),
    ("release", "operators:release", "End a hold."),
    ("retry", "operators:retry", "Try again what a saga stopped at."),
    ("skip", "operators:skip", "Leave the halted undo, or the step in doubt, as it is, and undo what came before it."),
    ("resolve", "operators:resolve", "Say what became of the step in doubt: it happened, or it did not."),
    ("audit", "ledger:audit", "Check every invariant of the ledger."),
    (
        "steps",
        "catalog:steps",
        "List the steps of the allowed packages: what each does, its time-out, its retries, its undo.",
    ),
    (
        "definitions",
        "catalog:definitions",
        "Load the definitions of the allowed packages and store them; list all current ones.",
    ),
    (
        "bench",
        "checkout:bench",
        "Measure sagaworker against its peers: `python -m bench` with the same ARGUMENTS, such as --full.",
    ),
):
    app.add_command(Later(_name, f"sagaworker.cli.{_where}", help=_sentence))


def main() -> None:
    """The console script. Exit status: 0 done, 1 refused or failed, 2 usage, 130 interrupted."""
    _write_what_can_be_written()
    try:
        _find_steps_here()
        status = app.main(prog_name="sagaworker", standalone_mode=False)
        _flush()
    except click.ClickException as refused:
        refused.show()
        sys.exit(refused.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    sys.exit(status if isinstance(status, int) else 0)


def _write_what_can_be_written() -> None:
    # Do not fail over a bar or an arrow where the terminal knows ASCII only.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _find_steps_here() -> None:
    # Find modules in the working folder, as `python -m` and Celery do.
    try:
        here = str(Path.cwd())
    except FileNotFoundError:
        raise Refused("this command cannot run: the working folder was deleted\ngo to another one: cd") from None
    if here not in sys.path:
        sys.path.insert(0, here)


def _flush() -> None:
    # Flush here: when the interpreter ends, it would print the error in its own words.
    try:
        sys.stdout.flush()
    except OSError as problem:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        raise unusable(problem) from problem
