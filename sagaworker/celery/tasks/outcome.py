"""The state of a doorbell's task: what one episode came to, as far as Celery has words for it.

SUCCESS: the saga completed, or there was nothing to do. FAILURE: it was undone, it failed, or it cannot be run here. RETRY: it is
not over, and another doorbell goes on with it.
"""

from __future__ import annotations

from typing import Any

from celery.exceptions import Retry

from sagaworker.episodes import EpisodeEnd
from sagaworker.errors import SagaworkerError

ENDED_BADLY = frozenset({"rolled_back", "failed", "unrunnable"})
GOES_ON = frozenset({"parked", "yielded", "fenced", "stopping"})


class SagaNotCompleted(SagaworkerError):
    """A saga came to another end than `completed`, or nobody can run it now. The ledger says more: `sagaworker explain`."""


def _is_awaited(request: Any) -> bool:
    """Whether somebody waits for the result, and would wait for ever for that of a RETRY: then it is the text."""
    waiting = (request.callbacks, request.errbacks, request.chain, request.chord)
    return request.called_directly or request.is_eager or not request.ignore_result or any(waiting)


def told(end: EpisodeEnd, request: Any) -> str:
    """The result of the task; where the episode did not complete the saga, what Celery makes another state of.

    Raises:
        SagaNotCompleted: the task's state becomes FAILURE.
        Retry: it becomes RETRY. Nothing is sent: the ledger knows when the saga goes on.
    """
    text = f"{end.outcome}: {end.reason}" if end.reason else end.outcome
    if not _is_awaited(request):
        if end.outcome in ENDED_BADLY:
            raise SagaNotCompleted(text)
        if end.outcome in GOES_ON:
            raise Retry(text)
    return text
