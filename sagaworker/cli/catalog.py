"""Commands on the declarations in users' code: steps, definitions."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.text import Text

from sagaworker.catalog.definitions import KnownDefinition
from sagaworker.catalog.registry import Registry
from sagaworker.cli.group import Refused, json_option
from sagaworker.cli.here import engine_here
from sagaworker.console import render
from sagaworker.console.as_json import print_json
from sagaworker.domain.retry import RetryPolicy
from sagaworker.errors import UnknownStep
from sagaworker.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownStep:
    """One step of the allowed packages, as `sagaworker steps` shows it. `problem`: why it cannot be used as a step."""

    step: str
    name: str = ""
    doc: str = ""
    timeout: float | None = None
    retry: str = ""
    undo: bool = False
    problem: str = ""


@click.command()
@json_option
def steps(*, as_json: bool) -> None:
    """List the steps of the allowed packages: what each does, its time-out, its retries, its undo. Exit 1 without any."""
    settings = Settings.from_env()
    found = _known_steps(settings)
    if as_json:
        print_json(found)
    if not found:
        packages = ", ".join(settings.step_packages)
        raise Refused(
            f"packages {packages} must hold steps, got none that this folder can import\n"
            "run this beside your steps, or set SAGAWORKER_STEP_PACKAGES"
        )
    if not as_json:
        render.console().print(_steps_view(found))


@click.command()
@json_option
def definitions(*, as_json: bool) -> None:
    """Load the definitions of the allowed packages and store them; list all current ones. Exit 1 if one was left out."""
    with engine_here() as engine:
        loaded = engine.load_definitions()
        found = engine.definitions.known()
    if as_json:
        print_json([_shown(known) for known in found])
    elif not found:
        click.echo("no kind has a definition: export a list DEFINITIONS from a module of the allowed step packages")
    for known in () if as_json else found:
        shown = _shown(known)
        actor = "" if shown["actor"] is None else f" of {shown['actor']}"
        policy = shown["recovery_policy"] or "-"
        line = Text(f"{shown['kind']}{actor}", style="bold")
        line.append(f"  {shown['version']}  policy {policy}  from {shown['source']}", style="not bold bright_black")
        names = ", ".join(step if isinstance(step, str) else str(step["step"]) for step in shown["steps"])
        render.console().print(Group(line, render.indented(Text(names))))
    if loaded.problems:
        raise Refused("definitions must all load, got:\n" + "\n".join(loaded.problems))


def _shown(known: KnownDefinition) -> dict[str, Any]:
    definition = known.definition
    return {
        "kind": definition.kind,
        "actor": definition.actor,
        "version": known.version,
        "recovery_policy": definition.recovery_policy,
        "max_recoveries": definition.max_recoveries,
        "steps": list(definition.steps),
        "source": "code" if known.is_registered else "database",
    }


def _known_steps(settings: Settings) -> list[KnownStep]:
    """Every step of the allowed packages, and every module of them that cannot be imported."""
    registry = Registry(settings)
    found: list[KnownStep] = []
    seen: set[int] = set()  # an object that other modules import is listed once
    for module in registry.known():
        try:
            paths = registry.steps_of(module)
        except UnknownStep as exc:
            found.append(KnownStep(step=module, problem=exc.problem))
            continue
        for path in paths:
            owner = _owner(path)
            if id(owner) not in seen:
                seen.add(id(owner))
                found.append(_known(registry, path, owner.__doc__))
    return found


def _owner(path: str) -> object:
    """The module, class or object that `steps_of` named."""
    module, _, member = path.partition(":")
    return getattr(sys.modules[module], member) if member else sys.modules[module]


def _known(registry: Registry, path: str, doc: str | None) -> KnownStep:
    try:
        step = registry.step(path)
    except UnknownStep as exc:
        return KnownStep(step=path, problem=exc.problem)
    return KnownStep(
        step=path,
        name=step.name,
        doc=_sentence(doc),
        timeout=step.timeout.total_seconds(),
        retry=_retry(step.policy.retry),
        undo=step.compensate is not None,
    )


def _sentence(doc: str | None) -> str:
    """The first sentence of a docstring."""
    first = " ".join((doc or "").strip().partition("\n\n")[0].split())
    sentence, stop, _ = first.partition(". ")
    return sentence + stop.strip()


def _retry(policy: RetryPolicy) -> str:
    if policy.max_attempts == 1:
        return "once"
    return f"{policy.max_attempts}x from {policy.base:g} s"


def _steps_view(found: list[KnownStep]) -> RenderableType:
    """Two lines a step: the figures, and its sentence below."""
    width = max(len(step.step) for step in found) + 2
    parts: list[RenderableType] = [Text(f"{'step':<{width}}{'timeout':>7}  {'attempts':<16}undo", style="bright_black")]
    for step in found:
        line = Text(f"{step.step:<{width}}", style="bold")
        if step.problem:
            parts += [line, render.indented(Text(step.problem, style="red"))]
            continue
        timeout = "" if step.timeout is None else f"{step.timeout:g} s"
        line.append(f"{timeout:>7}  {step.retry:<16}{'yes' if step.undo else '-'}", style="not bold")
        parts += [line, render.indented(Text(step.doc, style="bright_black"))]
    return Group(*parts)
