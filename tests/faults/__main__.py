"""`python -m tests.faults`: run the cases and judge them. Exit status 1 when one breaks a promise."""

from __future__ import annotations

import argparse
import collections
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import psycopg

from chaos import oracle, world
from chaos.facts import facts
from sagaworker.embedded import EmbeddedPostgres
from sagaworker.engine import Engine
from sagaworker.ledger.migrate import migrate
from sagaworker.settings import Settings
from tests.faults import cases
from tests.faults.crowd import Crowd, Ended
from tests.faults.life import KIND, LEASE
from tests.showing import timeline

# Of all ordered pairs about four in ten cannot both be: nothing starts after it was undone.
MOST_FIRE = 0.4


def main() -> int:
    options = _options()
    folder = Path(tempfile.mkdtemp(prefix="sagaworker-faults-"))
    folder.chmod(0o711)
    try:
        if options.database_url:
            return _run(options, folder, options.database_url)
        server = folder / "postgres"
        # A child of its own runs the server: what forks the cases has no thread.
        return _beside_a_server(options, folder, server)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _beside_a_server(options: argparse.Namespace, folder: Path, where: Path) -> int:
    asked, answered = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(asked[1])
        try:
            with EmbeddedPostgres(where, durable=False) as server:
                migrate(server.url)
                os.write(answered[1], server.url.encode())
                os.read(asked[0], 1)  # until the other end is closed
        finally:
            os._exit(0)
    os.close(answered[1])
    try:
        return _run(options, folder, os.read(answered[0], 1000).decode())
    finally:
        os.close(asked[1])
        os.waitpid(pid, 0)


def _run(options: argparse.Namespace, folder: Path, url: str) -> int:
    chosen = _chosen(options)
    settings = Settings(database_url=url).replace(
        lease=LEASE, sweep_interval=0.2, step_grace=0.3, step_packages="tests.faults", max_recoveries=5
    )
    (folder / "world").mkdir()
    (folder / "cases").mkdir()
    # A killed process loses nothing it wrote; only a killed machine would, and none is here.
    os.environ |= {world.FOLDER: str(folder / "world"), world.FSYNC: "0"}
    began = time.monotonic()
    crowd = Crowd(settings, folder / "cases", at_once=options.at_once)
    try:
        ended = crowd.run(chosen)
    finally:
        crowd.close()
    return _judged(settings, folder, ended, time.monotonic() - began)


def _judged(settings: Settings, folder: Path, ended: list[Ended], took: float) -> int:
    oracle.self_test()
    wrong = 0
    with Engine(settings) as engine, psycopg.connect(settings.database_url, autocommit=True) as connection:
        on_record = facts(connection, KIND)
        for one in ended:
            lines = world.read(folder / "world" / one.saga_id) if one.saga_id else []
            breaches = oracle.judge(one.saga_id, on_record.get(one.saga_id), lines, cancel_accepted=one.cancel_accepted)
            if breaches or one.is_stuck:
                wrong += 1
                print(f"\n{one.case}{' is stuck' if one.is_stuck else ''}", *breaches, *lines, sep="\n  ")
                print(timeline(engine, one.saga_id) if one.saga_id else "never started")
        findings = engine.audit()
        print(*findings[:20], sep="\n")
    fired = sum(one.fired for one in ended)
    kinds = collections.Counter(facts.status for facts in on_record.values())
    unreached = collections.Counter(
        fault.partition("=")[0] for one in ended if not one.fired for fault in one.case.faults
    )
    print(f"{len(ended)} cases in {took:.0f} s, all faults fired in {fired}: {dict(kinds)}")
    print(f"points in cases whose faults did not all fire: {dict(unreached.most_common(12))}")
    alone = sorted(one.case.faults[0] for one in ended if len(one.case.faults) == 1 and not one.fired)
    print(f"single faults that did not fire: {alone}")
    print(f"{wrong} cases broke a promise, {len(findings)} findings of the audit")
    return 1 if wrong or findings or fired < len(ended) * MOST_FIRE else 0


def _chosen(options: argparse.Namespace) -> list[cases.Case]:
    if options.only:
        return [cases.single(n, options.only, options.busy, options.ending) for n in range(options.times)]
    if options.sample:
        return cases.sample(options.seed, of_singles=options.sample // 3, of_pairs=options.sample - options.sample // 3)
    part, _, of = options.part.partition("/")
    if options.stories:
        return [case for case in cases.singles() if case.story != cases.WORKS]
    whole = [*cases.singles(), *(() if options.singles else cases.pairs())]
    return whole[int(part) - 1 :: int(of)]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--database-url", help="a migrated database; default: a private server")
    parser.add_argument("--at-once", type=int, default=40, help="cases at the same time")
    parser.add_argument("--sample", type=int, help="this many cases, chosen by --seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--part", default="1/1", help="each n-th case of all, as in 3/8")
    parser.add_argument("--singles", action="store_true", help="single faults only")
    parser.add_argument("--stories", action="store_true", help="with --singles: those of probes and people only")
    parser.add_argument("--only", help="one fault, such as advance.after@1=drop")
    parser.add_argument("--times", type=int, default=1, help="with --only")
    parser.add_argument("--busy", type=int, default=1, help="with --only: the step that visits every point")
    parser.add_argument("--ending", default="fails", choices=cases.ENDINGS, help="with --only")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
