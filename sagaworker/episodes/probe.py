"""The probe of a step in doubt: ask it whether its attempt happened."""

from __future__ import annotations

from sagaworker.domain import walk
from sagaworker.domain.status import RunStatus, WaitingFor
from sagaworker.episodes.attempt import probed
from sagaworker.episodes.episode import Episode
from sagaworker.episodes.execute import recorded

POINTS = ("probe.before", "probe.after")


def probe(episode: Episode) -> None:
    """Ask, and record what the answer comes to. No new attempt is counted, whatever it is."""
    claim, step = episode.claim, episode.step
    assert step.probe is not None
    if not episode.arm():
        return
    state = episode.state()
    episode.announce(RunStatus.RUNNING)
    answer, result = probed(episode.call(step.probe, state, POINTS), state)
    match walk.after_probe(claim.position.row, answer):
        case walk.Advanced():
            assert result is not None
            refused = recorded(episode, result)
            if refused is not None:  # it did happen, so it is neither tried again nor known to be recordable
                claim.park(WaitingFor.OPERATOR, None, refused.error)
        case walk.Absent():
            claim.absent()
        case walk.AskOperator(error):
            claim.park(WaitingFor.OPERATOR, None, error)
        case walk.Quarantine(seconds=seconds):
            claim.park(WaitingFor.QUARANTINE, seconds)
