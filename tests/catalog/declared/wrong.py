"""Loads, and declares what nobody could start; one of them is sound."""

from sagaworker import Definition

DEFINITIONS = [
    Definition("sound", ["steps.echo"]),
    Definition("gone", ["steps.gone"]),
    Definition("empty", []),
    Definition("policy", ["steps.echo"], recovery_policy="reboot"),
    Definition("greeting", ["steps.fail"]),
    "steps.echo",
]
