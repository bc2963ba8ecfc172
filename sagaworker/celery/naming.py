"""Names that other programs use: the tasks and the queues."""

from sagaworker.doorbell import RUN_SAGA, SAGAS

CONTROL = "control"  # start, cancel, sweeps and reads: a cancel never waits behind running sagas

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

__all__ = [
    "CANCEL_SAGA",
    "CONTROL",
    "EXPLAIN_SAGA",
    "GET_SAGA",
    "HOLD_SAGA",
    "LIST_SAGAS",
    "LIST_STEP_RESULTS",
    "RECOVER",
    "RELEASE_SAGA",
    "RESOLVE_SAGA",
    "RETRY_SAGA",
    "RUN_SAGA",
    "SAGAS",
    "SKIP_SAGA",
    "START_SAGA",
    "SWEEP_ORPHANS",
    "WAKE_DUE",
]
