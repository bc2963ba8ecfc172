"""`python -m demo`: exit 0 if all checks passed, else 1 with the reason."""

from __future__ import annotations

import argparse
import collections
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import psutil
from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from demo import flower, tenancy
from demo.cast import Cast
from demo.checks import Check, saga_checks
from demo.client import Client
from demo.killing import kill_holder
from demo.stage import Stage
from sagaworker.cli.up import prepare
from sagaworker.console import render, words
from sagaworker.console.as_json import print_json
from sagaworker.console.stack import Stack, flower_port
from sagaworker.console.unreachable import where
from sagaworker.domain.records import Finding, Timeline
from sagaworker.embedded import Services, Supervisor
from sagaworker.engine import Engine
from sagaworker.errors import SagaworkerError
from sagaworker.ledger import variables
from sagaworker.settings import Settings

_POOL = 4  # two sagas nap while the others go on
_LAST_WORDS = 30  # lines of the processes' output that are shown after a failure


class Demo:
    """One run of the demo; keeps its findings for the report."""

    def __init__(self, console: Console, stack: Stack, *, auth: str, are_servers_given: bool) -> None:
        self._console = console
        self._stack = stack
        self._auth = auth
        self._are_servers_given = are_servers_given
        self._tenants_url = os.environ["TENANTS_DATABASE_URL"]
        self._cast = Cast(tag=secrets.token_hex(2))
        self.timelines: list[Timeline] = []
        self.checks: list[Check] = []
        self.findings: list[Finding] = []

    def play(self, supervisor: Supervisor) -> None:
        """Do all that comes between the start of the processes and their stop."""
        tenancy.check_rights(self._tenants_url)
        self._stack.wait_ready(timeout=120)
        self._console.print(f"  ready      Flower at {self.flower_address}\n", soft_wrap=True)
        settings = Settings.from_env(database_url=self._stack.env["SAGAWORKER_DATABASE_URL"])
        client = Client(self._stack.env["SAGAWORKER_BROKER_URL"])
        try:
            with Engine(settings) as engine:
                self._walk(engine, client, supervisor)
        finally:
            client.close()

    @property
    def flower_address(self) -> str:
        """Flower's URL with the password of this run."""
        return self._stack.flower_url.replace("://", f"://{self._auth}@")

    def _walk(self, engine: Engine, client: Client, supervisor: Supervisor) -> None:
        cast = self._cast
        self._title("Sagas, sent through the broker as sagaworker.start_saga tasks")
        with Stage(engine, self._console) as stage:
            for part in cast.opening:
                client.start(part)
                stage.add(part)
            killed = self._disturb(stage, client, supervisor)
            stage.until("the end of the first sagas", stage.all_over)
            stage.say("  and one more, which offboards acme again")
            client.start(cast.offboard(cast.acme))
            stage.add(cast.offboard(cast.acme))
            stage.until("the end of the offboarding", stage.all_over)
        parts = [*cast.opening, cast.offboard(cast.acme)]
        self.timelines = [stage.ended(part) for part in parts]
        self._title("Timelines")
        for timeline in self.timelines:
            self._console.print(render.indented(render.timeline_view(timeline)))
            self._console.print()
        tenancies = self._ask_tenants()
        self.checks = saga_checks(stage, cast, killed, tenancies)
        self.checks.append(self._flower([part.label for part in parts]))
        if self._are_servers_given:
            self._leave_nothing(client, engine)
        self.findings = engine.audit()
        found = "; ".join(f"{one.rule} {one.saga_id} {one.detail}" for one in self.findings[:5])
        self.checks.append(Check(promise="the audit finds no invariant broken", is_kept=not self.findings, found=found))

    def _disturb(self, stage: Stage, client: Client, supervisor: Supervisor) -> int:
        """Kill the holder of one saga and cancel another, each inside a step; return the killed pid."""
        report, campaign = self._cast.report, self._cast.campaign
        stage.until("the nap of report", lambda: stage.is_in_step(report, "nap"))
        seen = stage.timeline(report)
        assert seen is not None
        killed = kill_holder(seen, supervisor.pid("worker"))
        stage.say(f"  kill -9 {killed}: the process that was in step nap of {report.label}")
        stage.until("the nap of campaign", lambda: stage.is_in_step(campaign, "nap"))
        held = stage.timeline(campaign)
        assert held is not None
        client.cancel(held.run.id, "nobody wants it any more")
        stage.say(f"  cancel of {campaign.label}, sent through the broker")
        return killed

    def _ask_tenants(self) -> dict[str, tenancy.Tenancy]:
        cast = self._cast
        done = {"acme": "provisioned, offboarded", "initech": "provisioned", "globex": "failed half way"}
        parts = {"acme": cast.acme, "initech": cast.initech, "globex": cast.globex}
        found = {name: tenancy.tenancy(self._tenants_url, part) for name, part in parts.items()}
        self._title("Tenants, as the server itself tells")
        table = tenancy.tenancies_table([(done[name], found[name]) for name in parts])
        self._console.print(render.indented(table))
        self._console.print()
        return found

    def _flower(self, labels: list[str]) -> Check:
        left = flower.missing(self._stack.flower_url, self._auth, labels)
        return Check(
            promise=f"Flower shows every saga by its name, such as {labels[0]}",
            is_kept=not left,
            found=f"none of {left}",
        )

    def _leave_nothing(self, client: Client, engine: Engine) -> None:
        """On a server that is not ours, remove the last tenant too."""
        part = self._cast.offboard(self._cast.initech)
        with Stage(engine, self._console) as stage:
            client.start(part)
            stage.add(part)
            stage.until("the offboarding of initech", stage.all_over)
        self.timelines.append(stage.ended(part))
        left = tenancy.tenancy(self._tenants_url, self._cast.initech)
        promise = "initech was offboarded too, for this server is not the demo's"
        self.checks.append(Check(promise=promise, is_kept=left.is_gone, found=str(left)))

    def _title(self, title: str) -> None:
        self._console.print(Rule(Text(title, style="bold"), align="left", style="bright_black"))


def main() -> int:
    """Run the demo. Ctrl-C and SIGTERM stop it with all processes it started."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    began = time.monotonic()
    console = Console(highlight=False, markup=False, stderr=options.json)
    output: collections.deque[str] = collections.deque(maxlen=_LAST_WORDS)
    demo: Demo | None = None
    problem = ""
    started: list[psutil.Process] = []
    try:
        with _servers(console) as services:
            demo, supervisor = _prepared(console, services, options.flower_port, output)
            with supervisor:
                try:
                    demo.play(supervisor)
                finally:
                    # Listed while they live: an orphaned process would no longer be found among our children.
                    started = psutil.Process().children(recursive=True)
            output.clear()  # The demo went to its end, so the processes' last lines are not needed.
    except SagaworkerError as refused:
        problem = str(refused)
    except KeyboardInterrupt:
        problem = "interrupted"
    checks = [*(demo.checks if demo else []), _nothing_left(started)]
    return _report(console, options, demo, checks, problem, list(output), time.monotonic() - began)


def _prepared(
    console: Console, services: Services, port: int, output: collections.deque[str]
) -> tuple[Demo, Supervisor]:
    env = services.env
    os.environ.setdefault("TENANT_SECRET", secrets.token_urlsafe(32))
    url = os.environ.get("TENANTS_DATABASE_URL") or env["SAGAWORKER_DATABASE_URL"]
    os.environ["TENANTS_DATABASE_URL"] = url.replace("postgresql+psycopg://", "postgresql://")
    auth = f"demo:{secrets.token_urlsafe(9)}"
    prepare(env)
    stack = Stack(
        env={
            # A worker learns of a cancel at its next heartbeat, so a short lease makes the demo wait less.
            "SAGAWORKER_LEASE": os.environ.get("SAGAWORKER_LEASE") or "9",
            "SAGAWORKER_STEP_PACKAGES": "steps",
            "FLOWER_BASIC_AUTH": auth,
            **env,
        },
        concurrency=_POOL,
        flower_port=flower_port(port),
        worker_name=f"demo-{os.getpid()}@%h",
        worker_stop=timedelta(seconds=30),
    )
    supervisor = Supervisor(stack.processes(), output=lambda name, line: output.append(f"{name} | {line}"))
    given = services.postgres is None or services.valkey is None
    return Demo(console, stack, auth=auth, are_servers_given=given), supervisor


@contextmanager
def _servers(console: Console) -> Iterator[Services]:
    """Given servers, or private ones in a temporary folder that is removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="sagaworker-demo-"))
    folder.chmod(0o711)  # Root's servers run as nobody, who must be able to enter.
    try:
        console.print("\nsagaworker demo", style="bold")
        with Services(folder / "home") as services:
            if services.postgres is not None:
                variables.forget()
            for name, variable, server in (
                ("database", "SAGAWORKER_DATABASE_URL", services.postgres),
                ("broker", "SAGAWORKER_BROKER_URL", services.valkey),
            ):
                whose = f"given by {variable}" if server is None else "private, gone when the demo is over"
                console.print(f"  {name:<9}  {where(services.env[variable])}, {whose}", soft_wrap=True)
            yield services
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _nothing_left(started: list[psutil.Process]) -> Check:
    _, left = psutil.wait_procs(started, timeout=2)
    promise = f"all {len(started)} processes were stopped"
    return Check(promise=promise, is_kept=not left, found=f"still running: {left}")


def _report(
    console: Console,
    options: argparse.Namespace,
    demo: Demo | None,
    checks: list[Check],
    problem: str,
    output: list[str],
    seconds: float,
) -> int:
    broken = [check for check in checks if not check.is_kept]
    is_good = not broken and not problem
    console.print(Rule(Text("As it should be", style="bold"), align="left", style="bright_black"))
    console.print(render.indented(_checks_table(checks)))
    if options.json:
        print_json(
            {
                "good": is_good,
                "problem": problem,
                "seconds": round(seconds, 1),
                "flower_url": demo.flower_address if demo else None,
                "checks": checks,
                "audit": demo.findings if demo else [],
                "sagas": demo.timelines if demo else [],
            }
        )
    if is_good:
        console.print(f"\n  all of it in {seconds:.0f} s\n", style="bold green")
        return 0
    if output:
        console.print("last words of the processes:", style="bright_black")
        for line in output:
            console.print(Text.from_ansi(line), soft_wrap=True)
    reason = problem or f"{words.count(len(broken), 'promise')} broken: {broken[0].promise}, got {broken[0].found}"
    print(f"error: {reason}", file=sys.stderr)  # noqa: T201 - the one sentence of the exit status
    return 1


def _checks_table(checks: list[Check]) -> Table:
    table = Table.grid(padding=(0, 1))
    for check in checks:
        table.add_row(Text("✓", "green") if check.is_kept else Text("✗", "bold red"), check.promise)
        if not check.is_kept:
            table.add_row("", Text(f"got {check.found}", style="red"))
    return table


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="sagaworker demo", description=__doc__)
    parser.add_argument("--flower-port", type=int, default=0, help="port of Flower; default 5555 or the next free one")
    parser.add_argument("--json", action="store_true", help="print a JSON report; the rest goes to standard error")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
