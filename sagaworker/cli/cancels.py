"""The command that cancels a saga."""

from __future__ import annotations

import click

from sagaworker.cli.group import Refused, json_option, who_option
from sagaworker.cli.here import engine_here
from sagaworker.console.as_json import print_json


@click.command()
@click.argument("saga", metavar="ID")
@click.option("--reason", help="Why; kept in the journal.")
@who_option
@json_option
def cancel(saga: str, *, reason: str | None, who: str, as_json: bool) -> None:
    """Cancel a saga: what it did is undone. Exit 1 when it is over or already undoing."""
    with engine_here() as engine:
        id = engine.id_of(saga, to_move=True)
        answer = engine.cancel(id, reason=reason, who=who)
        run = engine.get(id)
    if as_json:
        print_json({"saga_id": id, "answer": answer, "status": run.status})
    elif answer == "cancelled":
        click.echo(f"{run.label} is cancelled: nothing of it had begun")
    elif answer == "requested":
        click.echo(f"{run.label} will be undone; see: sagaworker watch {id}")
    if answer == "not_active":
        raise Refused(f"saga {run.label} must be pending or running to be cancelled, got {run.status}")
