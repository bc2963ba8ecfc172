"""Names that other programs use: the tasks and the queues."""

from sagaworker.doorbell import RUN_SAGA, SAGAS

CONTROL = "control"  # start, cancel, sweeps and reads: a cancel never waits behind running sagas

START_SAGA = "sagaworker.start_saga"
CANCEL_SAGA = "sagaworker.cancel_saga"
GET_SAGA = "sagaworker.get_saga"
LIST_SAGAS = "sagaworker.list_sagas"
LIST_STEP_RESULTS = "sagaworker.list_step_results"
RECOVER = "sagaworker.recover"
SWEEP_ORPHANS = "sagaworker.sweep_orphans"
WAKE_DUE = "sagaworker.wake_due"

__all__ = [
    "CANCEL_SAGA",
    "CONTROL",
    "GET_SAGA",
    "LIST_SAGAS",
    "LIST_STEP_RESULTS",
    "RECOVER",
    "RUN_SAGA",
    "SAGAS",
    "START_SAGA",
    "SWEEP_ORPHANS",
    "WAKE_DUE",
]
