"""Commands for operators: explain, and the moves of a person: hold, release, retry, skip, resolve."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from sagaworker.cli.group import Refused, json_option, who_option
from sagaworker.cli.here import engine_here
from sagaworker.cli.starts import parsed_inputs
from sagaworker.console import render, words
from sagaworker.console.as_json import print_json
from sagaworker.domain.explain import Explanation
from sagaworker.domain.records import SagaRun
from sagaworker.engine import Engine


def _move(act: Callable[..., SagaRun]) -> click.Command:
    """A command that makes one move of an operator, on the state of the saga that it has just read."""

    @click.argument("saga", metavar="ID")
    @click.option("--reason", required=True, help="Why; kept in the journal.")
    @who_option
    @click.option("--seq", type=int, help="Refuse if the journal has gone on since this number (see explain).")
    @json_option
    @wraps(act)
    def command(saga: str, *, seq: int | None, as_json: bool, **options: Any) -> None:
        with engine_here() as engine:
            id = engine.id_of(saga, to_move=True)
            seen = engine.explain(id).seq if seq is None else seq
            act(engine, id, seq=seen, **options)
            explanation = engine.explain(id)
        if as_json:
            print_json(explanation)
        else:
            render.console().print(explanation_view(explanation))

    return click.command(act.__name__)(command)


@_move
def hold(engine: Engine, id: str, **options: Any) -> SagaRun:
    """Let nothing new of a saga begin until it is released. A step that runs now ends first."""
    return engine.hold(id, **options)


@_move
def release(engine: Engine, id: str, **options: Any) -> SagaRun:
    """End a hold. A cancel that came meanwhile acts now."""
    return engine.release(id, **options)


def _retry(engine: Engine, id: str, *, undo: bool, **options: Any) -> SagaRun:
    """Try again what a saga stopped at.

    Its failed undos, its step in doubt, the step at which it was given up; or ring one that no worker could run.
    """
    return engine.retry(id, undo=undo, **options)


_retry.__name__ = "retry"
retry = click.option("--undo", is_flag=True, help="Undo a saga that was given up, instead of going on.")(_move(_retry))


@_move
def skip(engine: Engine, id: str, **options: Any) -> SagaRun:
    """Leave the halted undo, or the step in doubt, as it is, and undo what came before it."""
    return engine.skip(id, **options)


def _resolve(
    engine: Engine,
    id: str,
    *,
    happened: bool,
    pairs: tuple[str, ...],
    output_json: str | None,
    no_output: bool,
    **options: Any,
) -> SagaRun:
    """Say what became of the step in doubt: it happened, or it did not.

    --happened wants its outputs, or --no-output; --absent begins it again.
    """
    has_output = bool(pairs) or output_json is not None
    if happened and has_output == no_output:
        raise click.UsageError(
            "a step that happened must have its outputs given by --output NAME=VALUE or --output-json JSON, or"
            f" --no-output where it put out nothing, got {'both' if no_output else 'none of them'}"
        )
    if no_output and not happened:
        raise click.UsageError("--no-output cannot be given with --absent: only a step that happened has outputs")
    outputs = parsed_inputs(pairs, output_json, option="--output")
    return engine.resolve(id, happened=happened, outputs=outputs if happened else outputs or None, **options)


_resolve.__name__ = "resolve"
resolve = _move(_resolve)
for _option in (
    click.option("--happened/--absent", required=True, help="It happened, or it did not and never will."),
    click.option("--output", "pairs", multiple=True, metavar="NAME=VALUE", help="What it put out."),
    click.option("--output-json", metavar="JSON|@FILE", help="All its outputs as one JSON object."),
    click.option("--no-output", is_flag=True, help="It put out nothing. One of these is wanted with --happened."),
):
    resolve = _option(resolve)


@click.command()
@click.argument("saga", metavar="ID")
@json_option
def ring(saga: str, *, as_json: bool) -> None:
    """Send the doorbell of a saga now, rather than wait for the next sweep."""
    with engine_here() as engine:
        run = engine.get(engine.id_of(saga, to_move=True))
        if run.status.is_terminal:
            raise Refused(f"saga {run.label} cannot be rung: it is {run.status}")
        engine.ring(run.id)
    if as_json:
        print_json({"saga_id": run.id, "status": run.status})
    else:
        click.echo(f"{run.label} was rung")


@click.command()
@click.argument("saga", metavar="ID")
@json_option
def explain(saga: str, *, as_json: bool) -> None:
    """Say in plain words why a saga is where it is, and what a person must do.

    Who holds it since when, what comes next and when, and the commands that apply.
    """
    with engine_here() as engine:
        explanation = engine.explain(engine.id_of(saga))
    if as_json:
        print_json(explanation)
    else:
        render.console().print(explanation_view(explanation))


def explanation_view(explanation: Explanation) -> RenderableType:
    """The paragraph, and below it the commands that a person may call."""
    parts: list[RenderableType] = [Text(words.visible(explanation.text))]
    if explanation.commands:
        parts += ["", Text("What you can do:", style="bold")]
        parts += [
            Padding(Text(words.visible(f"{command} --reason ...")), (0, 0, 0, 2)) for command in explanation.commands
        ]
    return Group(*parts)
