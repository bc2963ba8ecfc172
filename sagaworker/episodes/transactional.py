"""An attempt of a TRANSACTIONAL step: its failure is definite unless the step ended, or may have ended, its transaction."""

from __future__ import annotations

from dataclasses import replace

from sagaworker.domain import walk
from sagaworker.domain.state import SagaState
from sagaworker.domain.status import RunStatus
from sagaworker.episodes.attempt import executed, refusal
from sagaworker.episodes.episode import Episode
from sagaworker.episodes.execute import POINTS, record_failure
from sagaworker.errors import InvalidInput
from sagaworker.ledger.ledger import Ledger
from sagaworker.ledger.step_transaction import TransactionEnded, TransactionLost, TransactionRefused

ENDED = "a TRANSACTIONAL step must leave its transaction open, got one that it ended by a statement"


def execute_in_transaction(episode: Episode, ledger: Ledger) -> None:
    """Enter the attempt that is on record; what it wrote and that it completed are one commit."""
    step, policy, decide = episode.step, episode.step.policy, walk.after_execute
    episode.announce(RunStatus.RUNNING)
    try:
        with ledger.step_transaction(step.timeout) as transaction:
            state = episode.state(connection=transaction.connection)
            result = executed(episode.call(step.execute, state, POINTS), state, policy.retry)
            if isinstance(result, SagaState):
                episode.advance(result, within=transaction)
                return
            failed = replace(result, definite=not transaction.was_ended)
    except TransactionRefused as refused:
        failed = refusal(refused.cause, policy.retry, definite=True)
    except TransactionEnded:
        failed = refusal(InvalidInput(ENDED, "return the state to commit"), policy.retry, definite=False)
    except TransactionLost as lost:
        failed = refusal(lost, policy.retry, definite=True)
        decide = walk.after_lost
    # What was added for an advance that did not happen is taken out again.
    episode.refold()
    record_failure(episode, failed, decide)
