"""The configurations that are explored: SMALL ones in `make test`, LARGE ones in `make model`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sagaworker.domain.walk import CompensateWhen, InDoubt
from tests.model.protocol import Config


def _quiet(**options: Any) -> Config:
    """No trouble but what is named."""
    return Config(**{"crashes": 0, "takeovers": 0, "bells": 0, **options})


SMALL: dict[str, Config] = {
    "a paused worker, restart": _quiet(takeovers=1),
    "a paused worker, cancel, compensate": _quiet(takeovers=1, cancels=1, policy="compensate"),
    "a paused worker, cancel, doubt is undone": _quiet(takeovers=1, cancels=1, in_doubt=InDoubt.COMPENSATE),
    "a paused worker, retries": _quiet(takeovers=1, max_attempts=2),
    "a paused worker, tombstones": _quiet(takeovers=1, tombstone=True),
    "a paused worker, lost acknowledgement": _quiet(takeovers=1, losses=1),
    "a stop, a pause and a cancel": _quiet(takeovers=1, yields=1, cancels=1),
    "two lost acknowledgements, cancel": _quiet(workers=1, losses=2, cancels=1),
    "crashes, lost acknowledgement, cancel": _quiet(workers=1, crashes=2, losses=1, cancels=1),
    "stops, crash, cancel": _quiet(workers=1, crashes=1, yields=2, cancels=1),
    "undos that fail, crashes": _quiet(workers=1, crashes=3, undo_fails=True),
    "poison": _quiet(workers=1, crashes=4),
    "poison below a higher ceiling": _quiet(workers=1, crashes=3, max_recoveries=2),
    "doorbells lost and doubled, crash": _quiet(bells=2, crashes=1),
    "three steps": _quiet(steps=3, workers=1, crashes=1, takeovers=1, cancels=1),
    "a probe, crashes, cancel": _quiet(workers=1, crashes=2, cancels=1, in_doubt=InDoubt.PROBE),
    "a probe, a paused worker, a person": _quiet(takeovers=1, retries=1, in_doubt=InDoubt.PROBE),
    "a probe, crash, lost acknowledgement": _quiet(workers=1, crashes=1, losses=1, in_doubt=InDoubt.PROBE),
    "a person decides, crashes, cancel": _quiet(workers=1, crashes=2, cancels=1, retries=1, in_doubt=InDoubt.HALT),
    "a person decides, a paused worker": _quiet(takeovers=1, retries=1, in_doubt=InDoubt.HALT),
    "a person decides, deadline, loss": _quiet(workers=1, crashes=1, deadlines=1, losses=1, in_doubt=InDoubt.HALT),
    "hold, cancel, crash": _quiet(workers=1, crashes=1, holds=1, cancels=1),
    "hold, stop, lost acknowledgement": _quiet(workers=1, yields=1, losses=1, holds=1),
    "hold, a paused worker": _quiet(takeovers=1, holds=1, failures=False),
    "hold, compensate": _quiet(workers=1, crashes=1, holds=1, cancels=1, policy="compensate"),
    "policy hold, crashes, cancel": _quiet(workers=1, crashes=2, cancels=1, policy="hold"),
    "policy hold, a paused worker, cancel": _quiet(takeovers=1, cancels=1, policy="hold"),
    "policy fail, a paused worker, reopened": _quiet(takeovers=1, retries=1, policy="fail"),
    "policy fail, declined and tried again, reopened": _quiet(
        workers=1, crashes=1, cancels=1, retries=1, policy="fail", max_attempts=2, lists_declines=True
    ),
    "policy fail, a probe, reopened twice": _quiet(
        workers=1, crashes=2, retries=2, policy="fail", in_doubt=InDoubt.PROBE
    ),
    "an undo halts, retried or skipped": _quiet(workers=1, crashes=1, retries=1, undo_fails=True, halts=True, holds=1),
    "undos that fail twice, reopened": _quiet(workers=1, crashes=1, retries=1, undo_fails=True, undo_attempts=2),
    "undos tried again, hold, lost acknowledgement": _quiet(
        workers=1, losses=1, holds=1, undo_fails=True, undo_attempts=2
    ),
    "the run's deadline, crash, cancel": _quiet(workers=1, crashes=1, deadlines=1, cancels=1),
    "the run's deadline, a paused worker": _quiet(takeovers=1, deadlines=1, failures=False),
    "doubt is not undone, crash, cancel": _quiet(
        workers=1, crashes=1, cancels=1, max_attempts=2, compensate_when=CompensateWhen.COMPLETED
    ),
    "doubt is not undone, a paused worker": _quiet(takeovers=1, compensate_when=CompensateWhen.COMPLETED),
    "transactional, crashes, stop, cancel": _quiet(workers=1, crashes=2, cancels=1, yields=1, transactional=True),
    "transactional, lost acknowledgements": _quiet(workers=1, crashes=1, losses=2, transactional=True),
    "transactional, a paused worker, cancel": _quiet(takeovers=1, cancels=1, transactional=True),
    "transactional, a paused worker, compensate": _quiet(
        takeovers=1, cancels=1, transactional=True, policy="compensate"
    ),
}

LARGE: dict[str, Config] = {
    "crash and pause, two workers": Config(),
    "crash, pause and cancel": Config(cancels=1, bells=0),
    "crash, pause and stop": Config(yields=1, bells=0),
    "two pauses, three workers": _quiet(takeovers=2, workers=3),
    "two pauses, cancel, compensate": _quiet(takeovers=2, cancels=1, policy="compensate"),
    "pause, lost acknowledgement, cancel": _quiet(takeovers=1, losses=1, cancels=1),
    "pause, crash, lost acknowledgement": _quiet(takeovers=1, crashes=1, losses=1, failures=False),
    "retries and crashes": _quiet(workers=1, crashes=3, max_recoveries=3, max_attempts=2),
    "undos that fail, pause, cancel": _quiet(takeovers=1, crashes=1, cancels=1, undo_fails=True),
    "three steps, two workers": _quiet(steps=3, crashes=1, takeovers=1),
    "a probe, pause and crash, cancel": _quiet(takeovers=1, crashes=1, cancels=1, in_doubt=InDoubt.PROBE),
    "a probe, pause, lost acknowledgement": _quiet(takeovers=1, losses=1, in_doubt=InDoubt.PROBE),
    "a person decides, pause and crash, cancel": _quiet(
        takeovers=1, crashes=1, cancels=1, retries=1, in_doubt=InDoubt.HALT
    ),
    "a person decides, three steps": _quiet(
        steps=3, workers=1, crashes=2, holds=1, retries=1, cancels=1, in_doubt=InDoubt.HALT
    ),
    "two holds, pause, cancel": _quiet(takeovers=1, holds=2, cancels=1),
    "hold, pause, lost acknowledgement": _quiet(takeovers=1, holds=1, losses=1, failures=False),
    "policy hold, pause and crash, cancel": _quiet(takeovers=1, crashes=1, cancels=1, policy="hold"),
    "policy fail, crashes, cancel, reopened": _quiet(
        workers=1, crashes=2, cancels=1, retries=2, policy="fail", max_attempts=2
    ),
    "an undo halts, everything": _quiet(
        workers=1, crashes=2, cancels=1, holds=1, retries=2, undo_fails=True, undo_attempts=2, halts=True
    ),
    "undos that fail, poison, reopened": _quiet(workers=1, crashes=3, retries=2, undo_fails=True),
    "an undo halts, pause": _quiet(takeovers=1, retries=1, undo_fails=True, undo_attempts=2, halts=True),
    "the run's deadline, pause, crash, cancel": _quiet(takeovers=1, crashes=1, deadlines=1, cancels=1),
    "doubt is not undone, crashes": _quiet(
        workers=1, crashes=2, cancels=1, max_attempts=2, compensate_when=CompensateWhen.COMPLETED
    ),
    "transactional, pause, lost acknowledgement": _quiet(takeovers=1, crashes=1, losses=1, transactional=True),
    "transactional, policy fail, reopened": _quiet(
        takeovers=1, crashes=1, cancels=1, retries=1, policy="fail", transactional=True
    ),
}

# The smallest world in which each mutant shows, and what it then breaks. Sound without the mutant.
MUTANTS: dict[str, tuple[Config, str]] = {
    "no_fence": (_quiet(takeovers=1), "a move of a fenced worker landed"),
    "one_shot_claim": (_quiet(steps=1, workers=1, crashes=2, failures=False), "no end can be reached"),
    "completion_ignores_cancel": (_quiet(workers=1, cancels=1), "a cancel was accepted and the saga completed"),
    "undo_from_below": (_quiet(workers=1), "a completed or doubted row was not undone"),
    "two_commits": (_quiet(workers=1), "the saga runs at 0 and row 0 is completed"),
    "no_write_ahead": (_quiet(workers=1, max_attempts=2), "was entered and is not on record"),
    "no_rering": (_quiet(workers=1, bells=1), "no end can be reached"),
    "recoveries_uncounted": (_quiet(workers=1, crashes=1), "nobody died in it"),
    "lost_ack_is_failure": (_quiet(workers=1, losses=1), "the effects (True, False) are left"),
    "no_quarantine": (_quiet(takeovers=1), "the effects (True, False) are left"),
    "exception_is_definite": (_quiet(workers=1), "the effects (True, False) are left"),
    "failed_undo_is_done": (_quiet(workers=1, undo_fails=True), "the effects (True, False) are left"),
    "doubt_not_sticky": (_quiet(workers=1, max_attempts=2), "the effects (True, False) are left"),
    "witness_without_fence_or_count": (_quiet(workers=1, crashes=1), "nobody died in it"),
    "polite_stop_is_doubt": (_quiet(workers=1, yields=1), "nobody died in it"),
    "seq_in_guard": (_quiet(workers=1, cancels=1), "the rightful holder was refused"),
    "advance_ignores_hold": (_quiet(workers=1, holds=1), "a step was begun on hold"),
    "absent_in_quarantine": (_quiet(takeovers=1, in_doubt=InDoubt.HALT), "the effects (True, False) are left"),
    "answer_ignores_cancel": (
        _quiet(workers=1, crashes=1, cancels=1, in_doubt=InDoubt.HALT),
        "a cancel was accepted and the saga completed",
    ),
    "skip_undoes_nothing": (
        _quiet(workers=1, crashes=1, in_doubt=InDoubt.HALT),
        "the effects (True, False) are left",
    ),
    "reopened_to_undo_goes_on": (
        _quiet(workers=1, crashes=1, retries=1, policy="fail", max_attempts=2, lists_declines=True),
        "a step was begun and undoing was ordered",
    ),
    "doubt_of_transaction_is_undone": (
        _quiet(workers=1, crashes=1, transactional=True, cancels=1),
        "row 0 is compensated at rest",
    ),
}


def mutated(name: str) -> tuple[Config, str]:
    config, breach = MUTANTS[name]
    return replace(config, mutant=name), breach
