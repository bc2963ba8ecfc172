"""The mutants: the rule that each breaks, and the tests that must notice. All tests run on real PostgreSQL."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PATCHES = Path(__file__).parent / "patches"

NAMED = "tests/properties/test_named_lives.py"
LIVES = "tests/properties/test_machine.py"
DEATHS = "tests/properties/test_deaths.py"
SWEEP = "tests/recovery/test_sweep.py"
LINES = "tests/races/test_unknown_commits.py"
LEASES = "tests/races/test_leases.py"
RINGING = "tests/recovery/test_ringing.py"
LATE_EFFECTS = "tests/recovery/test_late_effects.py"
RUN_DEADLINES = "tests/recovery/test_run_deadlines.py"


@dataclass(frozen=True)
class Mutant:
    """`tests` are run until the first one fails. `is_liveness`: the failure may be a stated bound on being stuck.

    `is_timed`: the mutant breaks a duration. It is not in the model, which has no durations.
    """

    name: str
    breaks: str
    tests: tuple[str, ...]
    is_liveness: bool = False
    is_timed: bool = False

    @property
    def patch(self) -> Path:
        return PATCHES / f"{self.name}.patch"


MUTANTS = (
    Mutant("rering_without_backoff", "re-ring without backoff", (RINGING,), is_timed=True),
    Mutant("claim_keeps_rings", "a claim that keeps `rings`", (RINGING,), is_liveness=True, is_timed=True),
    Mutant("takeover_trusts_the_read", "take-over without the lease checked again", (LEASES,), is_timed=True),
    Mutant("quarantine_shortened", "a second takeover shortens the quarantine", (LATE_EFFECTS,), is_timed=True),
    Mutant("lease_from_the_answer", "lease extended from the answer's time", (LEASES,), is_timed=True),
    Mutant("retry_past_deadline", "a parked retry sleeps past the run's deadline", (RUN_DEADLINES,), is_timed=True),
    Mutant("undo_deadline_without_delay", "an undo's deadline forgets its delay", (LEASES,), is_timed=True),
    Mutant("no_fence", "no fence", (NAMED, LIVES)),
    Mutant("one_shot_claim", 'one-shot "recovering" flag as claim', (NAMED, SWEEP), is_liveness=True),
    Mutant("completion_ignores_cancel", "completion ignores cancel", (NAMED, LIVES)),
    Mutant("undo_from_below", "undo of a doubted step from i-1", (NAMED, LIVES)),
    Mutant("two_commits", "two commits per step", (DEATHS,)),
    Mutant("no_write_ahead", "no write-ahead running row", (NAMED, LIVES)),
    Mutant("no_rering", "no re-ring by the sweep", (NAMED, LIVES), is_liveness=True),
    Mutant("recoveries_uncounted", "recoveries not counted", (NAMED, LIVES)),
    Mutant("lost_ack_is_failure", "lost acknowledgement taken as failure", (LINES,)),
    Mutant("no_quarantine", "no tombstone and no quarantine", (NAMED, LIVES)),
    Mutant("exception_is_definite", "exception taken as definite failure", (NAMED, LIVES)),
    Mutant("failed_undo_is_done", "failed undo recorded as done", (NAMED, LIVES)),
    Mutant("doubt_not_sticky", "doubt not sticky", (NAMED, LIVES)),
    Mutant("witness_without_fence_or_count", "witness without fence or count", (NAMED, LIVES)),
    Mutant("polite_stop_is_doubt", "polite stop counted as doubt", (NAMED, LIVES)),
    Mutant("seq_in_guard", "seq compared in a guard", (NAMED, LIVES)),
)
