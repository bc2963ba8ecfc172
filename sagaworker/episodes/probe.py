"""The probe of a step in doubt: ask it whether its attempt happened."""

from __future__ import annotations

from sagaworker.domain import walk
from sagaworker.domain.status import RunStatus, WaitingFor
from sagaworker.episodes.attempt import probed
from sagaworker.episodes.execute import recorded
from sagaworker.episodes.holder import Holder

POINTS = ("probe.before", "probe.after")


def probe(holder: Holder) -> None:
    """Ask, and record what the answer comes to. No new attempt is counted, whatever it is."""
    hold, step = holder.hold, holder.step
    assert step.probe is not None
    if not holder.arm():
        return
    state = holder.state()
    holder.announce(RunStatus.RUNNING)
    answer, result = probed(holder.call(step.probe, state, POINTS), state)
    match walk.after_probe(hold.position.row, answer):
        case walk.Advanced():
            assert result is not None
            refused = recorded(holder, result)
            if refused is not None:  # it did happen, so it is neither tried again nor known to be recordable
                hold.park(WaitingFor.OPERATOR, None, refused.error)
        case walk.Absent():
            hold.absent()
        case walk.AskOperator(error):
            hold.park(WaitingFor.OPERATOR, None, error)
        case walk.Quarantine(seconds=seconds):
            hold.park(WaitingFor.QUARANTINE, seconds)
