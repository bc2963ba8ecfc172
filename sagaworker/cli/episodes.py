"""The command that walks a saga here and now."""

from __future__ import annotations

import click

from sagaworker.cli.group import json_option
from sagaworker.cli.here import engine_here
from sagaworker.cli.starts import refuse_unless_completed, told

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
