"""`python -m mutants [NAME ...]`: apply each mutant to a copy of the tree and see which test kills it.

The unmutated copy must be green first. A mutant counts as killed only where its patch applies, the code imports and an
assertion fails. Prints a table, writes JSON where --json says; status 1 unless all are killed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mutants.catalogue import MUTANTS, Mutant
from mutants.verdict import Verdict, judged

ROOT = Path(__file__).parent.parent
SKIPPED = shutil.ignore_patterns(
    ".git", ".venv", ".bench-venv", "__pycache__", ".*_cache", ".hypothesis", ".sagaworker"
)
CAP = 240.0  # seconds for the tests of one mutant


def copied(target: Path) -> None:
    shutil.copytree(ROOT, target, ignore=SKIPPED)


def patched(tree: Path, mutant: Mutant, *, dry: bool = False) -> str:
    """Apply the patch; return why it does not apply, or an empty text."""
    command = ["git", "apply", "--unidiff-zero", *(["--check"] if dry else []), str(mutant.patch)]
    # Outside of any repository: `git apply` would skip files outside the repository that it finds above.
    env = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tree.parent), "GIT_DIR": os.devnull}
    done = subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr.strip()


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "SAGAWORKER_PROPERTIES": "quick"}


def imported(tree: Path) -> str:
    """Whether the code of this copy, and of no other, imports."""
    program = "import sagaworker.engine, sagaworker.celery, sagaworker.cli; print(sagaworker.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tree, env=environment(), capture_output=True, text=True, check=False
    )
    if done.returncode == 0 and Path(done.stdout.strip()).is_relative_to(tree):
        return ""
    return "does not import: " + (done.stderr.strip().splitlines() or [done.stdout])[-1]


def tested(tree: Path, tests: tuple[str, ...], cap: float) -> Verdict:
    report = tree / "report.xml"
    command = [sys.executable, "-m", "pytest", "-x", f"--junitxml={report}", *tests]
    process = subprocess.Popen(
        command, cwd=tree, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True
    )
    try:
        status = process.wait(cap)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait(30)
        return judged(report, 1, is_late=True)
    return judged(report, status, is_late=False)


def verdict_on(mutant: Mutant, cap: float) -> Verdict:
    with tempfile.TemporaryDirectory(prefix=f"mutant-{mutant.name}-") as folder:
        tree = Path(folder).resolve() / "tree"
        copied(tree)
        problem = patched(tree, mutant) or imported(tree)
        if problem:
            return Verdict(is_killed=False, test="", message=problem.splitlines()[0])
        return tested(tree, mutant.tests, cap)


def is_green(mutants: list[Mutant], cap: float) -> bool:
    """Whether the selected tests pass without any mutant."""
    tests = tuple(dict.fromkeys(test for mutant in mutants for test in mutant.tests))
    with tempfile.TemporaryDirectory(prefix="unmutated-") as folder:
        tree = Path(folder).resolve() / "tree"
        copied(tree)
        problem = imported(tree)
        verdict = tested(tree, tests, cap) if not problem else Verdict(is_killed=False, test="", message=problem)
    if verdict.message != "survived":
        sys.stderr.write(f"the unmutated run must be green, got {verdict.test}: {verdict.message}\n")
    return verdict.message == "survived"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m mutants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    parser.add_argument("--json", type=Path, help="write the table here, too")
    parser.add_argument("--cap", type=float, default=CAP, help="seconds for the tests of one mutant")
    arguments = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if not arguments.names or mutant.name in arguments.names]
    if not is_green(chosen, 2 * arguments.cap):
        return 1
    rows = []
    for mutant in chosen:
        begun_at = time.monotonic()
        verdict = verdict_on(mutant, arguments.cap)
        seconds = round(time.monotonic() - begun_at, 1)
        rows.append({"mutant": mutant.breaks, "patch": mutant.patch.name, "killed": verdict.is_killed, "seconds": seconds,
                     "by": verdict.test, "message": verdict.message, "is_liveness": mutant.is_liveness})  # fmt: skip
        how = "killed  " if verdict.is_killed else "SURVIVED"
        sys.stdout.write(f"{how} {seconds:6.1f} s  {mutant.name:32} {verdict.test}\n{'':20} {verdict.message}\n")
        sys.stdout.flush()
    killed = sum(bool(row["killed"]) for row in rows)
    sys.stdout.write(f"{killed} of {len(rows)} killed\n")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")
    return int(killed < len(rows))


if __name__ == "__main__":
    sys.exit(main())
