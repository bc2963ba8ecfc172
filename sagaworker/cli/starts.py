"""The command that starts a saga, and how its inputs are written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from sagaworker.cli.group import Refused, json_option, timeout_option
from sagaworker.cli.here import engine_here
from sagaworker.console import render, words
from sagaworker.console.as_json import print_json
from sagaworker.domain.definition import POLICIES
from sagaworker.domain.records import SagaRun
from sagaworker.domain.status import RunStatus
from sagaworker.engine import Engine


def parsed_inputs(pairs: tuple[str, ...], whole: str | None, *, option: str = "--input") -> dict[str, Any]:
    """Inputs from `--input-json` and then `--input name=value`, which wins. A value that is not JSON is text.

    `option` is the name of the second option, for errors.
    """
    inputs: dict[str, Any] = {}
    if whole is not None:
        text = _file(whole[1:], f"{option}-json") if whole.startswith("@") else whole
        inputs = _object(text, f"{option}-json")
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"must be name=value, got {pair!r}", param_hint=option)
        inputs[name] = _json_or_text(value, option)
    return inputs


def _file(name: str, option: str) -> str:
    try:
        return Path(name).read_text()
    except (OSError, UnicodeDecodeError) as problem:
        raise click.BadParameter(f"file {name!r} must be readable text, got {problem}", param_hint=option) from None


def _object(text: str, option: str) -> dict[str, Any]:
    try:
        value = _json(text, option)
    except ValueError as problem:
        raise click.BadParameter(f"must be JSON, got {problem}", param_hint=option) from None
    if not isinstance(value, dict):
        raise click.BadParameter(f"must be a JSON object, got a {type(value).__name__}", param_hint=option)
    return value


def _json(text: str, option: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise Refused(f"{option} must be JSON that is nested less deeply, got more than can be read") from None


def _json_or_text(value: str, option: str) -> Any:
    try:
        return _json(value, option)
    except ValueError:
        return value


def parsed_step(text: str) -> str | dict[str, Any]:
    """A step's dotted name, or an entry of a step list as a JSON object."""
    if not text.lstrip().startswith("{"):
        return text
    try:
        entry: dict[str, Any] = _json(text, "STEP")
    except ValueError as problem:
        raise click.BadParameter(f"must be a dotted name or a JSON object, got {problem}", param_hint="STEP") from None
    return entry


@click.command()
@click.argument("kind")
@click.argument("steps", nargs=-1, metavar="[STEP]...")
@click.option("--input", "pairs", multiple=True, metavar="NAME=VALUE", help="An input: JSON if it parses, else text.")
@click.option("--input-json", metavar="JSON|@FILE", help="All inputs as one JSON object.")
@click.option("--key", help="Idempotency key: the same kind and key again is the same saga.")
@click.option("--actor", "actor_id", help="On whose behalf.")
@click.option("--recovery-policy", type=click.Choice(POLICIES), help="What happens when its worker is lost.")
@click.option("--queue", help="Queue of its doorbells.")
@click.option("--priority", type=click.IntRange(0, 9), help="Priority of its doorbells.")
@click.option("--deadline", type=float, metavar="SECONDS", help="Undo it when it is not done by then.")
@click.option("--wait", is_flag=True, help="Wait until it is over; exit 1 unless it completed.")
@timeout_option
@json_option
def start(
    kind: str,
    steps: tuple[str, ...],
    *,
    pairs: tuple[str, ...],
    input_json: str | None,
    key: str | None,
    wait: bool,
    timeout: float,
    as_json: bool,
    **options: Any,
) -> None:
    """Start a saga of KIND that walks the STEPs; without any, those of the kind's definition.

    A STEP is a dotted name (steps.echo), or a JSON object with params: '{"step": "steps.nap", "params": {"seconds": 1}}'.
    """
    inputs = parsed_inputs(pairs, input_json)
    entries = [parsed_step(step) for step in steps]
    with engine_here() as engine:
        run = engine.start(kind, entries or None, inputs=inputs, key=key, **options)
        if engine.settings.broker_url is None:
            click.echo("note: SAGAWORKER_BROKER_URL is not set, so the next sweep rings it", err=True)
        if wait:
            run = engine.wait(run.id, timeout=timeout)
        told(engine, run.id, as_json=as_json)
    if wait:
        refuse_unless_completed(engine, run)


def told(engine: Engine, id: str, *, as_json: bool) -> None:
    """Print one run: as JSON, its id and status, or its timeline once it is over."""
    run = engine.get(id)
    if as_json:
        print_json(run)
    elif run.status.is_terminal:
        render.console().print(render.timeline_view(engine.timeline(id)))
    else:
        render.console().print(Text.assemble((run.id, "bold"), f"  {run.label}  ", render.status_text(run.status)))


def refuse_unless_completed(engine: Engine, run: SagaRun) -> None:
    """Exit 1 with the reason when a saga ended otherwise."""
    if run.status.is_terminal and run.status is not RunStatus.COMPLETED:
        raise Refused(words.ending(run, engine.list_step_results(run.id)))
