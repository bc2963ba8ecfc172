"""`sagaworker`: arguments in, one engine call, rendering out."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import click

from sagaworker.cli.checkout import bench, demo
from sagaworker.cli.declared import definitions, steps
from sagaworker.cli.group import Commands, Refused, unusable
from sagaworker.cli.operating import explain, hold, release, resolve, retry, ring, skip
from sagaworker.cli.sagas import cancel, list_, show, start
from sagaworker.cli.up import up
from sagaworker.cli.upkeep import audit, migrate
from sagaworker.cli.walking import run, wait, watch

__all__ = ["app", "main"]

INTERRUPTED = 130


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="sagaworker", message="sagaworker %(version)s")
def app() -> None:
    """Durable sagas on the Celery workers you already run.

    Works on the ledger of SAGAWORKER_DATABASE_URL, else on that of a `sagaworker up` which runs in this folder.
    """


for _command in (
    up,
    demo,
    migrate,
    start,
    list_,
    show,
    watch,
    wait,
    run,
    cancel,
    explain,
    ring,
    hold,
    release,
    retry,
    skip,
    resolve,
    audit,
    steps,
    definitions,
    bench,
):
    app.add_command(_command)


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
    # A bar or an arrow is no reason to fail where the terminal knows ASCII only.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _find_steps_here() -> None:
    # Beside where the command is run, as by `python -m` and by Celery.
    try:
        here = str(Path.cwd())
    except FileNotFoundError:
        raise Refused("the working folder must exist, got one that was deleted\ngo to another one: cd") from None
    if here not in sys.path:
        sys.path.insert(0, here)


def _flush() -> None:
    # Here and not when the interpreter ends, which would tell of it in its own words.
    try:
        sys.stdout.flush()
    except OSError as problem:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        raise unusable(problem) from problem
