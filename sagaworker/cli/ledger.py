"""Commands on the ledger as a whole: migrate, audit."""

from __future__ import annotations

import click

from sagaworker.cli.group import Refused, json_option
from sagaworker.cli.here import engine_here, settings_here, spoken
from sagaworker.console import render, words
from sagaworker.console.as_json import print_json
from sagaworker.ledger.migrate import migrate as migrate_ledger


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
        now = migrate_ledger(settings.database_url, revision, schema=settings.schema)
    if as_json:
        print_json({"revision": now})
    else:
        click.echo(f"the ledger is at migration {now}")


@click.command()
@click.option(
    "--since",
    metavar="AGO|INSTANT",
    help="Only sagas that are not over, or ended since: 90s, 15m, 2h, 3d, or an ISO instant. Quick, however many are over.",
)
@json_option
def audit(*, since: str | None, as_json: bool) -> None:
    """Check every invariant of the ledger. Exit 1 when one is broken."""
    with engine_here() as engine:
        findings = engine.audit(since=since)
    if as_json:
        print_json(findings)
    elif findings:
        render.console().print(render.findings_view(findings))
    else:
        part = "" if since is None else f" by sagas that are not over or ended since {since}"
        click.echo(f"the ledger is sound: no invariant is broken{part}")
    if findings:
        raise Refused(f"the ledger must be sound, got {words.count(len(findings), 'finding')}")
