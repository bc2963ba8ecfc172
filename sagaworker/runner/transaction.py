"""An attempt of a TRANSACTIONAL step: its failure is definite unless the step ended, or may have ended, its transaction."""

from __future__ import annotations

from dataclasses import replace

from sagaworker.domain.state import SagaState
from sagaworker.domain.status import RunStatus
from sagaworker.errors import InvalidInput
from sagaworker.ledger.moves import Ledger
from sagaworker.ledger.stepping import TransactionEnded, TransactionLost, TransactionRefused
from sagaworker.runner.attempt import executed, refusal
from sagaworker.runner.execute import POINTS, record_failure
from sagaworker.runner.holder import Holder

ENDED = "a TRANSACTIONAL step must leave its transaction open, got one that it ended by a statement"
LOST_TRIES = 3  # further attempts of a transaction that was lost by no fault of its step


def execute_in_transaction(holder: Holder, ledger: Ledger) -> None:
    """Enter the attempt that is on record; what it wrote and that it completed are one commit."""
    step, policy = holder.step, holder.step.policy
    holder.announce(RunStatus.RUNNING)
    try:
        with ledger.step_transaction(step.timeout) as transaction:
            state = holder.state(connection=transaction.connection)
            result = executed(holder.call(step.execute, state, POINTS), state, policy.retry)
            if isinstance(result, SagaState):
                holder.advance(result, within=transaction)
                return
            failed = replace(result, definite=not transaction.was_ended)
    except TransactionRefused as refused:
        failed = refusal(refused.cause, policy.retry, definite=True)
    except TransactionEnded:
        failed = refusal(InvalidInput(ENDED, "return the state to commit"), policy.retry, definite=False)
    except TransactionLost as lost:
        failed = replace(refusal(lost, policy.retry, definite=True), retryable=True)
        more = replace(policy.retry, max_attempts=policy.retry.max_attempts + LOST_TRIES)
        policy = replace(policy, retry=more)
    # What was added for an advance that did not happen is taken out again.
    holder.refold()
    record_failure(holder, failed, policy)
