"""`python -m bench`: measure everything in one run on one server, print a table, write JSON."""

from __future__ import annotations

import argparse
import gc
import sys
from pathlib import Path

from rich.console import Console

from bench import history, ours, per_step, through_celery
from bench.peers import ROOT
from bench.report import Report
from bench.server import Server, running

LATEST = ROOT / "bench" / "results" / "latest.json"
SECTIONS = ("steps", "celery", "many", "long", "history")


def main() -> int:
    """Measure, show, save. 0 when everything ran; a missed target is a result, not a failure."""
    options = _options()
    with running() as server:
        report = Report(server.settings())
        _measure(server, report, options)
    # A pipe has no width, so a log gets the whole text.
    to_errors = options.json == "-"
    stream = sys.stderr if to_errors else sys.stdout
    console = Console(stderr=to_errors, width=None if stream.isatty() else 170)
    report.show(console)
    if to_errors:
        sys.stdout.write(report.to_json() + "\n")
    else:
        report.save(Path(options.json))
        console.print(f"written to {options.json}", soft_wrap=True)
    return 0


def _measure(server: Server, report: Report, options: argparse.Namespace) -> None:
    for section in SECTIONS:
        if section not in options.only:
            continue
        gc.collect()
        match section:
            case "steps":
                per_step.measure(server, report, rounds=options.rounds, sagas=30)
            case "celery":
                through_celery.measure(server, report, rounds=3, batch=300, alone=10)
            case "many":
                ours.measure_start_many(server, report, rounds=3)
            case "long":
                ours.measure_long_saga(server, report, sagas=5)
            case _:
                history.measure(server, report, many=options.history, rounds=options.rounds, sagas=20)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--full", action="store_true", help="1,000,000 finished sagas instead of 100,000, more rounds")
    parser.add_argument("--history", type=int, help="how many finished sagas lie behind")
    parser.add_argument("--rounds", type=int, help="how many rounds (odd is best: the median is one of them)")
    parser.add_argument("--only", action="append", choices=SECTIONS, help="measure this section only; may be repeated")
    parser.add_argument("--json", default=str(LATEST), metavar="PATH", help="where the JSON goes; - prints it")
    options = parser.parse_args()
    options.only = options.only or list(SECTIONS)
    options.history = options.history or (1_000_000 if options.full else 100_000)
    options.rounds = options.rounds or (25 if options.full else 11)
    return options


if __name__ == "__main__":
    sys.exit(main())
