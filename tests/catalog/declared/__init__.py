"""A step package with definitions, good and bad."""

from sagaworker import Definition

DEFINITIONS = [
    Definition("greeting", ["steps.echo"]),
    Definition("billing", ["steps.echo", "steps.echo"], actor="alice", recovery_policy="restart", max_recoveries=7),
    Definition("billing", [{"step": "steps.echo", "id": "one"}], actor="bob", recovery_policy="hold", queue="slow"),
]
