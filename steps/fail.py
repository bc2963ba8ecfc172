"""Fail, definitely and without any effect: for demos, and to see a rollback."""

from sagaworker import SagaState, StepFailed


def execute(state: SagaState) -> SagaState:
    raise StepFailed(str(state.params.get("message", "this step always fails")))
