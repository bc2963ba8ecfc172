"""The checks at the end, each as a sentence and an answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from demo.cast import Cast
from demo.stage import Stage
from demo.tenancy import Tenancy
from sagaworker.console import words
from sagaworker.domain.records import Timeline
from sagaworker.domain.status import EpisodeOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A promise, whether it is kept, and the finding if it is not."""

    promise: str
    is_kept: bool
    found: str = ""


def saga_checks(stage: Stage, cast: Cast, killed: int, tenancies: Mapping[str, Tenancy]) -> list[Check]:
    """The promises about the sagas and about their effects on the tenants' server."""
    parts = [*cast.opening, cast.offboard(cast.acme)]
    ends = [(part, stage.ended(part).run.status) for part in parts]
    wrong = [f"{part.label} is {status}, not {part.ends}" for part, status in ends if status is not part.ends]
    return [
        Check(promise=f"{len(parts)} sagas ended as they should", is_kept=not wrong, found="; ".join(wrong)),
        _hello(stage.ended(cast.hello)),
        _refund(stage.ended(cast.refund)),
        _report(stage.ended(cast.report), killed),
        _campaign(stage.ended(cast.campaign)),
        Check(
            promise="globex failed half way: the server has no role, no database, no session of it",
            is_kept=tenancies["globex"].is_gone,
            found=str(tenancies["globex"]),
        ),
        Check(
            promise="acme was offboarded: nothing of it is left, while initech still logs in",
            is_kept=tenancies["acme"].is_gone and tenancies["initech"].is_whole,
            found=f"{tenancies['acme']}, {tenancies['initech']}",
        ),
    ]


def _statuses(timeline: Timeline) -> list[str]:
    return [str(row.status) for row in timeline.steps]


def _hello(timeline: Timeline) -> Check:
    expected = {f"echoed_at_step_{idx}" for idx in range(3)}
    return Check(
        promise="hello put out echoed_at_step_0, _1 and _2",
        is_kept=set(timeline.run.context) == expected,
        found=f"{sorted(timeline.run.context)}",
    )


def _refund(timeline: Timeline) -> Check:
    found = (_statuses(timeline), timeline.run.error)
    expected = (
        ["compensated", "compensated", "failed"],
        {"reason": "step_failed:fail", "compensate_from_idx": 1},
    )
    return Check(
        promise="refund failed at its third step, and the two before it were undone in reverse",
        is_kept=found == expected,
        found=f"{found}",
    )


def _report(timeline: Timeline, killed: int) -> Check:
    """The heart of the demo: the step that was cut off began twice, the saga was held twice, the first holder died."""
    nap, held = timeline.steps[1], timeline.episodes
    is_kept = (
        nap.attempts == 2  # noqa: PLR2004 - one before the kill and one after
        and nap.recoveries == 1
        and len(held) == 2  # noqa: PLR2004 - as above
        and (held[0].outcome, held[0].pid) == (EpisodeOutcome.DIED, killed)
        and (held[1].outcome, held[1].pid != killed) == (EpisodeOutcome.COMPLETED, True)
        and timeline.run.recoveries == 1
    )
    outcomes = ", ".join(f"{episode.pid} {episode.outcome}" for episode in held)
    wait = words.duration(held[1].started_at - held[0].ended_at) if len(held) > 1 and held[0].ended_at else "never"
    return Check(
        promise=f"report lost process {killed} to kill -9 in step nap and went on {wait} later: 2 attempts, 2 episodes",
        is_kept=is_kept,
        found=f"{words.count(nap.attempts, 'attempt')}, episodes: {outcomes}",
    )


def _campaign(timeline: Timeline) -> Check:
    run = timeline.run
    found = (run.error_class, _statuses(timeline)[:1], len(timeline.steps))
    return Check(
        promise="campaign was cancelled in the middle of a step and undone; its last step never began",
        is_kept=found == ("cancelled", ["compensated"], 2),
        found=f"{found}",
    )
