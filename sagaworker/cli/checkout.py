"""Commands that need the project's checkout, because their programs are not in the wheel: demo, bench."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

import click

import sagaworker
from sagaworker.cli.group import Refused, json_option


@click.command()
@click.option("--flower-port", type=click.IntRange(0, 65535), default=0, help="Port of Flower; default a free one.")
@json_option
def demo(*, flower_port: int, as_json: bool) -> NoReturn:
    """Walk real sagas end to end: kill a worker, cancel, undo, provision tenants. Exit 1 unless all is as it should be.

    Servers are those of SAGAWORKER_DATABASE_URL and SAGAWORKER_BROKER_URL, else private ones in a temporary folder.
    """
    _run("demo", f"--flower-port={flower_port}", *(["--json"] if as_json else []))


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@json_option
def bench(arguments: tuple[str, ...], *, as_json: bool) -> NoReturn:
    """Measure sagaworker against its peers: `python -m bench` with the same ARGUMENTS, such as --full."""
    _run("bench", *arguments, *(["--json=-"] if as_json else []))


def _run(module: str, *arguments: str) -> NoReturn:
    root = Path(sagaworker.__file__).parent.parent
    if not (root / module / "__main__.py").is_file():
        raise Refused(
            f"sagaworker {module} must run from the project's checkout, got an installed package without {module}/\n"
            "clone the project and run: make " + module
        )
    os.chdir(root)
    sys.stdout.flush()
    # The program replaces this process, so signals and exit status are its own.
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606 - no shell is wanted
