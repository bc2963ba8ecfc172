"""Names of the tasks, which other programs use. The settings `queue` and `control_queue` name the queues."""

from sagaworker.doorbell.publisher import RUN_SAGA

START_SAGA = "sagaworker.start_saga"
CANCEL_SAGA = "sagaworker.cancel_saga"
HOLD_SAGA = "sagaworker.hold_saga"
RELEASE_SAGA = "sagaworker.release_saga"
RETRY_SAGA = "sagaworker.retry_saga"
SKIP_SAGA = "sagaworker.skip_saga"
RESOLVE_SAGA = "sagaworker.resolve_saga"
EXPLAIN_SAGA = "sagaworker.explain_saga"
GET_SAGA = "sagaworker.get_saga"
LIST_SAGAS = "sagaworker.list_sagas"
LIST_STEP_RESULTS = "sagaworker.list_step_results"
RECOVER = "sagaworker.recover"
SWEEP_ORPHANS = "sagaworker.sweep_orphans"
WAKE_DUE = "sagaworker.wake_due"

# Moves that somebody asked for and nobody would ask for again: kept over an outage. By the task's id each is done once.
MOVES = frozenset({START_SAGA, CANCEL_SAGA, HOLD_SAGA, RELEASE_SAGA, RETRY_SAGA, SKIP_SAGA, RESOLVE_SAGA})

__all__ = [
    "CANCEL_SAGA",
    "EXPLAIN_SAGA",
    "GET_SAGA",
    "HOLD_SAGA",
    "LIST_SAGAS",
    "LIST_STEP_RESULTS",
    "MOVES",
    "RECOVER",
    "RELEASE_SAGA",
    "RESOLVE_SAGA",
    "RETRY_SAGA",
    "RUN_SAGA",
    "SKIP_SAGA",
    "START_SAGA",
    "SWEEP_ORPHANS",
    "WAKE_DUE",
]
