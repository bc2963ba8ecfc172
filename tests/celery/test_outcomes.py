"""What a doorbell's task says of its episode, to Flower and to whoever waits for it."""

from __future__ import annotations

import pytest
from celery.app.task import Context
from celery.exceptions import Retry

from sagaworker.celery.tasks.outcome import ENDED_BADLY, GOES_ON, SagaNotCompleted, told
from sagaworker.domain.status import RunStatus
from sagaworker.episodes import EpisodeEnd

DOORBELL = {"ignore_result": True, "called_directly": False, "is_eager": False}
AWAITED = [
    {"ignore_result": False},
    {"called_directly": True},
    {"is_eager": True},
    {"chain": [{"task": "shop.next"}]},
    {"chord": {"task": "shop.all"}},
    {"callbacks": [{"task": "shop.next"}]},
]


def ended(outcome):
    return EpisodeEnd(saga_id="s", status=RunStatus.RUNNING, outcome=outcome)


@pytest.mark.parametrize("outcome", sorted(ENDED_BADLY))
def test_a_saga_that_did_not_complete_fails_its_task(outcome):
    with pytest.raises(SagaNotCompleted, match=outcome):
        told(ended(outcome), Context(DOORBELL))


@pytest.mark.parametrize("outcome", sorted(GOES_ON))
def test_a_saga_that_goes_on_is_a_retry(outcome):
    with pytest.raises(Retry, match=outcome):
        told(ended(outcome), Context(DOORBELL))


@pytest.mark.parametrize("waiting", AWAITED, ids=lambda waiting: next(iter(waiting)))
@pytest.mark.parametrize("outcome", ["completed", "busy", *sorted(ENDED_BADLY | GOES_ON)])
def test_who_waits_for_the_result_has_it_as_text(outcome, waiting):
    """A RETRY never ends for them: the doorbell that goes on with the saga is another task."""
    assert told(ended(outcome), Context({**DOORBELL, **waiting})) == outcome
