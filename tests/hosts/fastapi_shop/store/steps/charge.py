"""A step that is `async def`, as its shop's other code is."""

from sagaworker import SagaState, StepFailed
from store.steps.reserve import mark
from tests.hosts.gates import gate


async def execute(state: SagaState) -> SagaState:
    if name := state.inputs.get("gate"):
        gate(name).passed()
    if state.inputs.get("declined"):
        raise StepFailed("card declined")
    mark(state, "charged")
    return state.put_output("euros", state.get_input("euros"))


async def compensate(state: SagaState) -> None:
    mark(state, "refunded")
