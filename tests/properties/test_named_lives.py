"""Lives of sagas that must not be left to chance: for each mutant of the protocol one that tells it from the code."""

import pytest

from tests.properties.machine import Machine, S


def moved(machine: Machine, commands):
    """Carry out commands: of the machine by name, or of a worker by its number; what is always so is checked after each."""
    for command in commands:
        if isinstance(command, tuple):
            n, told = command
            puppet = machine.puppets[n]
            if told in ("deliver", "stopping"):
                machine.arrive(puppet, machine.bells.pop(), stops=told == "stopping")
            elif not puppet.is_idle:
                machine.tell(puppet, told)
        else:
            COMMANDS[command](machine)
        machine.the_ledger_is_sound()
        machine.the_world_agrees()
    machine.all_end()


COMMANDS = {
    "expire": lambda machine: machine.the_lease_runs_out(n=0, sweeps=True),
    "witness": lambda machine: machine.witness(),
    "cancel": lambda machine: machine.cancel(n=0),
    "lose": lambda machine: machine.bells.clear(),
}

LIVES = {
    "a late worker writes nothing": (["Plain", "Plain"], "restart", [(0, "deliver"), "expire", (0, "ok")]),
    "a late worker does not complete": (["Plain"], "restart", [(0, "deliver"), "expire", (0, "ok")]),
    "a saga survives two deaths": (
        ["Plain", "Plain"],
        "restart",
        [(0, "deliver"), (0, "die"), "witness", (0, "deliver"), (0, "ok"), (0, "die"), "expire"],
    ),
    "a witnessed death is counted": (
        ["Plain"],
        "restart",
        [(0, "deliver"), (0, "die"), "witness", (0, "deliver"), (0, "die"), "witness"],
    ),
    "an accepted cancel is kept in the last step": (["Plain"], "restart", [(0, "deliver"), "cancel", (0, "ok")]),
    "a cancel does not fence its holder": (["Plain", "Plain"], "restart", [(0, "deliver"), "cancel", (0, "ok")]),
    "a doubted step is undone": (["Plain", "Plain"], "restart", [(0, "deliver"), (0, "ok"), (0, "raise")]),
    "a doubt is not forgotten": (["Patient"], "restart", [(0, "deliver"), (0, "raise"), (0, "decline")]),
    "a lost bell is rung again": (["Plain"], "restart", ["lose"]),
    "a failed undo is not called done": (
        ["Plain", "Plain"],
        "restart",
        [(0, "deliver"), (0, "ok"), (0, "decline"), (0, "raise early"), (0, "raise early")],
    ),
    "an undo waits for late effects": (
        ["Plain"],
        "compensate",
        [(0, "deliver"), "expire", (1, "deliver"), (1, "ok"), (0, "ok")],
    ),
    "a tombstone needs no waiting": (
        ["Tombstoned"],
        "compensate",
        [(0, "deliver"), "expire", (1, "deliver"), (1, "ok"), (0, "ok")],
    ),
    "a polite stop is no doubt": (["Plain"], "restart", [(0, "stopping"), (0, "deliver"), (0, "ok")]),
}


@pytest.mark.parametrize("life", LIVES)
def test_the_ledger_and_the_world_agree_when(machine, life):
    names, policy, commands = LIVES[life]
    machine.begin([S + name for name in names], policy)
    moved(machine, commands)
