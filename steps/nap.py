"""Do nothing for `params.seconds` (default 1), in small slices, so that a cancel is heard: to see a saga at work.

Puts out `napped_at_step_<idx>`, the seconds it slept. Has no effect outside the ledger, so nothing to undo.
"""

import time

from sagaworker import SagaState, StepCancelled, StepFailed

_SLICE = 0.1
_MOST = 280  # below the default time-out of a step


def execute(state: SagaState) -> SagaState:
    seconds = state.params.get("seconds", 1)
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds <= _MOST:
        raise StepFailed(f"params.seconds must be a number from 0 to {_MOST}, got {seconds!r}")
    began = time.monotonic()
    try:
        while (left := began + seconds - time.monotonic()) > 0:
            state.check_cancelled()
            time.sleep(min(left, _SLICE))
    except StepCancelled:
        # A nap cut short is no doubt: return as usual, and the saga is undone for its cancel.
        pass
    return state.put_output(f"napped_at_step_{state.step_idx}", round(time.monotonic() - began, 1))
