"""Commands on the ledger and on the code: migrate, audit, steps, definitions."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.text import Text

from sagaworker.cli import render, words
from sagaworker.cli.as_json import print_json
from sagaworker.cli.group import Refused, json_option
from sagaworker.cli.here import engine_here, settings_here, spoken
from sagaworker.definitions import KnownDefinition
from sagaworker.domain.retry import RetryPolicy
from sagaworker.errors import UnknownStep
from sagaworker.ledger.migrate import migrate as migrate_ledger
from sagaworker.registry import Registry
from sagaworker.settings import Settings


@click.command()
@click.option("--to", "revision", default="head", show_default=True, help="A revision; base takes all tables away.")
@click.option("--yes", is_flag=True, help="Do not ask before going to another revision than head.")
@json_option
def migrate(*, revision: str, yes: bool, as_json: bool) -> None:
    """Create the ledger's tables, or bring them up to date. Safe to repeat and to run twice at once."""
    settings = settings_here()
    assert settings.database_url is not None
    if revision != "head" and not yes:
        click.confirm(f"Going to {revision} may take tables and their sagas away. Go on?", abort=True, err=True)
    with spoken(settings.database_url):
        now = migrate_ledger(settings.database_url, revision)
    if as_json:
        print_json({"revision": now})
    else:
        click.echo(f"the ledger is at migration {now}")


@click.command()
@json_option
def audit(*, as_json: bool) -> None:
    """Check every invariant of the ledger. Exit 1 when one is broken."""
    with engine_here() as engine:
        findings = engine.audit()
    if as_json:
        print_json(findings)
    elif findings:
        render.console().print(render.findings_view(findings))
    else:
        click.echo("the ledger is sound: no invariant is broken")
    if findings:
        raise Refused(f"the ledger must be sound, got {words.count(len(findings), 'finding')}")


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownStep:
    """One module of the allowed packages, as `sagaworker steps` shows it. `problem`: why it is not a step."""

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
    found = known_steps(settings)
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


def known_steps(settings: Settings) -> list[KnownStep]:
    """Every module of the allowed packages."""
    registry = Registry(settings)
    return [_known(registry, path) for path in registry.known()]


def _known(registry: Registry, path: str) -> KnownStep:
    try:
        step = registry.step(path)
    except UnknownStep as exc:
        return KnownStep(step=path, problem=exc.problem)
    return KnownStep(
        step=path,
        name=step.name,
        doc=_sentence(sys.modules[path].__doc__),
        timeout=step.timeout.total_seconds(),
        retry=_retry(step.policy.retry),
        undo=step.compensate is not None,
    )


def _sentence(doc: str | None) -> str:
    """The first sentence of a module's docstring."""
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
