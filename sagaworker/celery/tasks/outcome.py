"""The state of a doorbell's task: the result of one episode, in Celery's words.

SUCCESS: the saga completed, or there was nothing to do. FAILURE: the saga was undone, failed, or cannot be run here.
RETRY: the saga is not over; another doorbell goes on with it.
"""

from __future__ import annotations

from typing import Any

from celery.exceptions import Retry

from sagaworker.episodes import EpisodeEnd
from sagaworker.errors import SagaworkerError

ENDED_BADLY = frozenset({"rolled_back", "failed", "unrunnable"})
GOES_ON = frozenset({"parked", "yielded", "fenced", "stopping"})


class SagaNotCompleted(SagaworkerError):
    """A saga did not end `completed`, or nobody can run it now. `sagaworker explain` says more."""


def _is_awaited(request: Any) -> bool:
    """Whether somebody waits for the result. A RETRY would keep that caller waiting without end, so the result is then text."""
    waiting = (request.callbacks, request.errbacks, request.chain, request.chord)
    return request.called_directly or request.is_eager or not request.ignore_result or any(waiting)


def told(end: EpisodeEnd, request: Any) -> str:
    """Return the result of the task, or raise the exception that gives the task another state.

    Raises:
        SagaNotCompleted: the task's state becomes FAILURE.
        Retry: the task's state becomes RETRY. Nothing is sent: the ledger knows when the saga goes on.
    """
    text = f"{end.outcome}: {end.reason}" if end.reason else end.outcome
    if not _is_awaited(request):
        if end.outcome in ENDED_BADLY:
            raise SagaNotCompleted(text)
        if end.outcome in GOES_ON:
            raise Retry(text)
    return text
